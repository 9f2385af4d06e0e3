"""Instruction sets of CPUs that decide whether 8 bits pay, as targets list them in `isa`."""

from __future__ import annotations

from edgecompile.targets import Target

VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Add four products of 8 bits into 32 bits without overflow between (x86)."""
QUICK = VNNI | {"avx2"}
"""Instruction sets on which INT8 pays (x86). AVX2 adds two products of 8 bits into 16 bits: twice the work of float in
one instruction. On a Zen 3, which has AVX2 only, INT8 is 1.5 to 1.6 times as fast as float."""
DOT_PRODUCT = "asimddp"
"""Adds four products of 8 bits into 32 bits (Arm); without it they are widened first."""


def int8_remarks(target: Target) -> list[str]:
    """Returns what to know of INT8 on the CPU of a target whose instruction sets do not make it fast."""
    isa = f"isa: {list(target.isa)}"
    if target.arch == "x86_64" and not QUICK & set(target.isa):
        return [f"INT8 gains little on {target.device}: its instruction set lists neither AVX2 nor VNNI ({isa})"]
    if target.arch == "aarch64" and DOT_PRODUCT not in target.isa:
        return [
            f"INT8 on {target.device} is a quarter of the size; its speed is to be compared with float by "
            f"`edgecompile bench` there, for it has no dot product (asimddp; {isa})"
        ]
    return []
