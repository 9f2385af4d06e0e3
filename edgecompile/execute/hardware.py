"""What a result may depend on in a machine: its instruction set; and, for a measurement, the machine itself."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import TypedDict

from edgecompile.runtime import machine
from edgecompile.runtime.machine import architecture, available_cores

OVERRIDE = "EDGECOMPILE_ISA_CLASS"
"""Environment variable that replaces the detected class. For tests, and for sharing a store between unlike machines."""

FEATURES = {
    "x86_64": (
        "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
        "amx_tile", "amx_int8", "amx_bf16",
    ),
    "aarch64": ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
}  # fmt: skip
"""Flags of /proc/cpuinfo by which math libraries choose between kernels, and so between orders of summation."""


def isa_class() -> str:
    """Returns the instruction-set class of this machine, such as "x86_64+avx+avx2+fma"."""
    if override := os.environ.get(OVERRIDE):
        return override
    return "+".join((architecture(), *isa_features()))


@cache
def isa_features() -> tuple[str, ...]:
    """Returns those of `FEATURES` that this machine has; none where the system does not list them."""
    flags: set[str] = set()
    for line in _cpuinfo():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            flags = set(value.split())
            break
    return tuple(feature for feature in FEATURES.get(architecture(), ()) if feature in flags)


@cache
def cpu_model() -> str:
    """Returns the processor's name, such as "Intel(R) Xeon(R) Processor"."""
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in _cpuinfo())}
    # Boards with ARM cores name the board ("Raspberry Pi 5 Model B") rather than the processor.
    return fields.get("model name") or fields.get("Model") or platform.processor() or architecture()


class Fingerprint(TypedDict):
    """What a measurement is tied to: processor, how many cores are usable, instruction-set class, operating system with
    its kernel, what is set for clock and power, memory in MB."""

    cpu: str
    cores: int
    isa: str
    os: str
    power: dict[str, str]
    memory_mb: int


def fingerprint() -> Fingerprint:
    """Returns what a measurement on this machine is tied to."""
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "isa": isa_class(),
        "os": f"{platform.system()} {platform.release()}",
        "power": _power_settings(),
        "memory_mb": machine.memory_mb(),
    }


@cache
def _power_settings() -> dict[str, str]:
    """Returns what is set for clock and power when this process first asks: a program may have to be asked."""
    return machine.power_settings()


def available_memory_mb() -> int:
    """Returns the memory, in MB, that can be used without swapping: the machine's, or what a container leaves of it."""
    import psutil

    available = psutil.virtual_memory().available
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        if limit != "max":
            available = min(available, max(0, int(limit) - used))
    except (OSError, ValueError):
        pass  # no cgroup of version 2 here, so no limit by a cgroup
    return available >> 20


def _cpuinfo() -> list[str]:
    try:
        # One processor is enough: the blocks of the others say the same, and there may be hundreds.
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return []
    lines = text.split("\n\n", 1)[0].splitlines()
    return lines + [line for line in text.splitlines() if line.startswith("Model")]
