"""What OpenVINO leaves open on a CPU, and the names of the options that decide it."""

from __future__ import annotations

from edgecompile.runtime import openvino_ir
from edgecompile.runtime.backends import Setting
from edgecompile.runtime.knobs import Knob, Site, of_option, thread_counts

KERNELS = "CONVOLUTION_KERNELS"
"""Option that names the family of oneDNN's kernels that convolutions take first, where it has one for them."""
PRECISION, PINNING, ISA = "INFERENCE_PRECISION_HINT", "ENABLE_CPU_PINNING", "ONEDNN_MAX_CPU_ISA"
HYPER_THREADING, CORE_TYPE = "ENABLE_HYPER_THREADING", "SCHEDULING_CORE_TYPE"
BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Instruction sets by which OpenVINO computes in bfloat16; without any of them it computes in float whatever it is
told."""


def on_a_cpu(setting: Setting, site: Site) -> list[Knob]:
    """Returns what may be chosen on a CPU; see `edgecompile.runtime.knobs.Tunable`."""
    found = [
        thread_counts(site),
        of_option("kernels", KERNELS, {family: family for family in openvino_ir.KERNELS}, setting, None),
        of_option("pinning", PINNING, {"on": True, "off": False}, setting, None),
    ]
    if ISA in setting.options and "amx_int8" in site.isa:
        found.append(of_option("instruction sets", ISA, {"all": "DEFAULT"}, setting, "DEFAULT"))
    if site.isa & BF16:
        found.append(of_option("float", PRECISION, {"bf16": "bf16"}, setting, None))
    if site.smt:
        found.append(of_option("hyper-threading", HYPER_THREADING, {"on": True, "off": False}, setting, None))
    if site.hybrid:
        kinds = {"performance": "PCORE_ONLY", "any": "ANY_CORE"}
        found.append(of_option("cores", CORE_TYPE, kinds, setting, None))
    return found


def without_bf16(isa: frozenset[str]) -> str:
    """Returns what a person should know where a CPU of these instruction sets is to compute in bfloat16; "" where it
    can, or its instruction sets are not known."""
    if not isa or isa & BF16:
        return ""
    return "this CPU does not compute in bfloat16: the model runs in float, at the speed of float"
