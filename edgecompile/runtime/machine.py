"""The machine that a measurement was taken on: a latency without it means nothing. Standard library only."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ARCHES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Names of some systems for the architectures that Linux calls otherwise."""

CGROUP_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files that state how much memory a container may have: cgroups of version 2 and 1."""
UNKNOWN_MEMORY_KB = 4 << 20
"""Memory that a machine without /proc is assumed to have."""

POWER_MODE = (
    "nvpmodel -q",
    "jetson_clocks --show",
    "vcgencmd measure_clock arm",
    "vcgencmd get_throttled",
    "nvidia-smi --query-gpu=clocks.sm,clocks.mem,power.limit --format=csv",
    "cat /sys/class/drm/card0/gt_max_freq_mhz",
    "npu-smi info -t common -i 0",
    "powerprofilesctl get",
)
"""Commands that print in which power mode a machine runs: NVIDIA Jetson, Raspberry Pi (0x0: never slowed by heat or low
voltage), graphics cards, Intel's graphics, Huawei Atlas, desktops. The list stands here, for what a bundle or a recipe
says is never run."""


SET_BY_COMMAND = ("nvpmodel -q",)
"""Those of these commands that print what was set, and nothing that changes by itself."""
POWER_SETTINGS = {
    "governor": "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "highest clock": "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq",
    "energy preference": "sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference",
    "boost": "sys/devices/system/cpu/cpufreq/boost",
    "no turbo": "sys/devices/system/cpu/intel_pstate/no_turbo",
    "platform profile": "sys/firmware/acpi/platform_profile",
    "threads of a core": "sys/devices/system/cpu/smt/control",
}
"""Files in which Linux shows what is set for clock and power."""


def architecture() -> str:
    """Returns the processor's architecture under the name that targets use, such as "x86_64" or "aarch64"."""
    name = platform.machine().lower()
    return ARCHES.get(name, name)


def usable_cores() -> list[int]:
    """Returns the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def available_cores() -> int:
    """Returns how many cores this process may use."""
    return len(usable_cores())


def system(root: Path = Path("/")) -> str:
    """Returns the operating system and its version as its image names them, such as "ubuntu 22.04"."""
    fields = {}
    for line in (_text(root / "etc/os-release") or "").splitlines():
        name, _, value = line.partition("=")
        fields[name.strip()] = value.strip().strip("\"'")
    named = f"{fields.get('ID', '')} {fields.get('VERSION_ID', '')}".strip()
    return named or platform.system().lower()


@dataclass(frozen=True)
class Machine:
    """A machine, as far as it can be read: None for values that it hides.

    Attributes:
        arch: see `architecture`.
        cpu, board: names of the processor and of the board.
        cores: that this process may use.
        memory_mb: 10^6 bytes.
        governor, max_mhz, mhz: policy of the clock, its highest frequency, and its present one where that is hidden.
        system, python: versions of the kernel and of Python.
    """

    arch: str
    cpu: str | None
    board: str | None
    cores: int | None
    memory_mb: int | None
    governor: str | None
    max_mhz: int | None
    mhz: int | None
    system: str
    python: str


def describe(root: Path = Path("/")) -> Machine:
    """Returns this machine.

    Args:
        root: where /proc and /sys stand (another folder in tests).
    """
    memory = _field(root / "proc/meminfo", "MemTotal")
    clock = root / "sys/devices/system/cpu/cpu0/cpufreq"
    highest = _text(clock / "scaling_max_freq")
    now = None if highest else _field(root / "proc/cpuinfo", "cpu MHz")  # all that a virtual machine shows
    return Machine(
        arch=architecture(),
        cpu=_processor(root),
        board=_board(root),
        cores=available_cores(),
        memory_mb=round(int(memory.split()[0]) * 1024 / 1e6) if memory else None,
        governor=governor(root),
        max_mhz=round(int(highest) / 1000) if highest else None,
        mhz=round(float(now)) if now else None,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def instruction_sets(root: Path = Path("/")) -> frozenset[str]:
    """Returns the instruction sets of the processor as Linux names them, such as "avx512_bf16"; none where it hides
    them."""
    return frozenset(
        (_field(root / "proc/cpuinfo", "flags") or _field(root / "proc/cpuinfo", "Features") or "").split()
    )


def has_threads_of_cores(root: Path = Path("/")) -> bool:
    """Returns whether cores run several threads each."""
    return _text(root / "sys/devices/system/cpu/smt/active") == "1"


def has_two_kinds_of_cores(root: Path = Path("/")) -> bool:
    """Returns whether some cores are made for speed and others for little power (Intel's)."""
    return (root / "sys/devices/cpu_core").exists() and (root / "sys/devices/cpu_atom").exists()


def governor(root: Path = Path("/")) -> str | None:
    """Returns the policy of the clock, such as "schedutil"; None where the machine hides it."""
    return _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def memory_mb(root: Path = Path("/")) -> int:
    """Returns the memory of the machine, or the part of it that a container may have, in 10^6 bytes."""
    total = int((_field(root / "proc/meminfo", "MemTotal") or f"{UNKNOWN_MEMORY_KB} kB").split()[0]) * 1024
    for limit in CGROUP_LIMITS:
        text = _text(root / limit) or ""
        total = min(total, int(text)) if text.isdigit() else total
    return total // 10**6


def power_settings(root: Path = Path("/")) -> dict[str, str]:
    """Returns what is set for the clock and the power of this machine: unlike a present clock, it stays until somebody
    changes it, so that a measurement can be tied to it."""
    shown = {name: _text(root / path) for name, path in POWER_SETTINGS.items()}
    settings = {name: value for name, value in shown.items() if value}
    return {**settings, **power_mode(SET_BY_COMMAND)}


def power_mode(commands: Sequence[str] = POWER_MODE) -> dict[str, str]:
    """Returns the output of those commands that this machine has: clocks and limits that a latency depends on."""
    settings = {}
    for command in commands:
        words = command.split()
        if not shutil.which(words[0]):
            continue
        try:
            ended = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if ended.returncode == 0 and ended.stdout.strip():
            settings[command] = ended.stdout.strip()
    return settings


def temperature(root: Path = Path("/")) -> float | None:
    """Returns the temperature of the hottest zone in degrees Celsius, or None where the machine shows none."""
    readings = [_text(zone) for zone in sorted(root.glob("sys/class/thermal/thermal_zone*/temp"))]
    return max((int(text) / 1000 for text in readings if text), default=None)


def _processor(root: Path) -> str | None:
    """Returns the processor's name: the kernel's on x86, the board's from the device tree on ARM."""
    return _field(root / "proc/cpuinfo", "model name") or _board(root) or platform.processor() or None


def _board(root: Path) -> str | None:
    """Returns the board's name: of the device tree on ARM, of the firmware on x86."""
    tree = _text(root / "proc/device-tree/model")
    return (tree.rstrip("\0") if tree else None) or _text(root / "sys/class/dmi/id/product_name") or None


def _field(path: Path, key: str) -> str | None:
    """Returns the first value of `key` in a file of `key: value` lines."""
    for line in (_text(path) or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
