"""What a machine does beside one's own work: the time of other processes, clock, throttling, heat. Standard library.

All of it is read from /proc and /sys; None stands for what a system does not show.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecompile.runtime import machine

BUSY = (0, 1, 2, 5, 6)
"""Fields of a processor's line in /proc/stat that count work: user, nice, system, irq, softirq (proc_stat(5))."""
STOLEN = 7
"""The field that counts the time in which the hypervisor ran something else."""
TICKS = 4
"""Ticks by which the kernel's count of all work and that of single processes may differ: each is rounded."""
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
"""What a Raspberry Pi says of voltage and heat, hexadecimal; its lowest four bits hold for now."""
NOW = 0xF
CLOCKED_DOWN = ("Processor", "cpufreq", "thermal-cpufreq", "thermal-devfreq", "intel_powerclamp")
"""Beginnings of the kinds of cooling devices that lower a clock; others are fans."""


@dataclass(frozen=True)
class Observed:
    """A machine at one moment.

    Attributes:
        at: seconds of a clock that never goes back.
        busy_s, stolen_s: processor seconds so far, of the cores that this process may use: of all processes; and of
            what the hypervisor gave to others.
        own_s, switches: processor seconds and involuntary switches so far of the processes that are one's own.
        mhz: clock of the quickest of these cores.
        governor: policy of the clock.
        throttles: how often a processor was slowed by heat so far.
        throttled: whether one is slowed now.
        temperature_c: of the hottest zone.
    """

    at: float
    busy_s: float | None
    stolen_s: float | None
    own_s: float | None
    switches: float | None
    mhz: int | None
    governor: str | None
    throttles: float | None
    throttled: bool | None
    temperature_c: float | None


@dataclass(frozen=True)
class Load:
    """What a machine did between two moments.

    Attributes:
        seconds: between them.
        foreign, stolen: processor time of other processes, and of other virtual machines, as shares of what the usable
            cores had, 0..1.
        resolution: by how much `foreign` may be off, since kernels count in ticks.
        switches_per_s: how often another process was let on a core of one's own processes.
        mhz, governor, temperature_c: at both moments.
        throttled: whether a processor was slowed by heat or low voltage.
    """

    seconds: float
    foreign: float | None
    stolen: float | None
    resolution: float
    switches_per_s: float | None
    mhz: tuple[int | None, int | None]
    governor: tuple[str | None, str | None]
    throttled: bool | None
    temperature_c: tuple[float | None, float | None]


def observe(own: Iterable[int] = (), root: Path = Path("/")) -> Observed:
    """Returns the machine as it is now.

    Args:
        own: numbers of the processes whose work is one's own, beside this process.
        root: where /proc and /sys stand (another folder in tests).
    """
    cores = machine.usable_cores()
    busy, stolen = _processor_seconds(root, cores)
    processes = [root / f"proc/{process}" for process in (os.getpid(), *own)]
    return Observed(
        at=time.monotonic(),
        busy_s=busy,
        stolen_s=stolen,
        own_s=_sum(map(_seconds_of, processes)),
        switches=_sum(map(_switches_of, processes)),
        mhz=_clock(root, cores),
        governor=machine.governor(root),
        throttles=_throttles(root),
        throttled=_throttled(root),
        temperature_c=machine.temperature(root),
    )


def between(before: Observed, after: Observed) -> Load:
    """Returns what the machine did between two moments."""
    seconds = max(after.at - before.at, 1e-9)
    capacity = seconds * machine.available_cores()
    busy, own = _gain(before.busy_s, after.busy_s), _gain(before.own_s, after.own_s)
    stolen, switches = _gain(before.stolen_s, after.stolen_s), _gain(before.switches, after.switches)
    slowed = _gain(before.throttles, after.throttles)
    signs = [before.throttled, after.throttled, None if slowed is None else slowed > 0]
    known = [sign for sign in signs if sign is not None]
    return Load(
        seconds=seconds,
        foreign=None if busy is None or own is None else min(max(busy - own, 0.0) / capacity, 1.0),
        stolen=None if stolen is None else min(stolen / capacity, 1.0),
        resolution=TICKS * _tick_s() / capacity,
        switches_per_s=None if switches is None else switches / seconds,
        mhz=(before.mhz, after.mhz),
        governor=(before.governor, after.governor),
        throttled=any(known) if known else None,
        temperature_c=(before.temperature_c, after.temperature_c),
    )


def _processor_seconds(root: Path, cores: Sequence[int]) -> tuple[float | None, float | None]:
    """Returns the seconds of work and the stolen seconds of some cores, since the machine was started."""
    wanted = {f"cpu{core}" for core in cores}
    busy = stolen = 0.0
    for line in _lines(root / "proc/stat"):
        name, *fields = line.split()
        if name in wanted and len(fields) > STOLEN:
            wanted.discard(name)
            busy += sum(int(fields[place]) for place in BUSY)
            stolen += int(fields[STOLEN])
    return (None, None) if wanted else (busy * _tick_s(), stolen * _tick_s())


def _seconds_of(process: Path) -> float | None:
    """Returns the processor seconds of a process, of all its threads."""
    text = next(iter(_lines(process / "stat")), "")
    fields = text.rpartition(")")[2].split()  # a program's name may hold anything
    return (int(fields[11]) + int(fields[12])) * _tick_s() if len(fields) > 12 else None


def _switches_of(process: Path) -> float | None:
    """Returns how often threads of a process had to give way."""
    found = None
    for status in process.glob("task/*/status"):
        for line in _lines(status):
            if line.startswith("nonvoluntary_ctxt_switches:"):
                found = (found or 0) + int(line.split()[1])
    return found


def _clock(root: Path, cores: Sequence[int]) -> int | None:
    """Returns the highest present clock of some cores, in MHz."""
    policies = (root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq" for core in cores)
    shown = [int(line) / 1000 for policy in policies for line in _lines(policy) if line.isdigit()]
    if not shown:
        shown = [float(line.partition(":")[2]) for line in _lines(root / "proc/cpuinfo") if line.startswith("cpu MHz")]
    return round(max(shown)) if shown else None


def _throttles(root: Path) -> float | None:
    counters = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"))
    return _sum(int(line) for counter in counters for line in _lines(counter)) if counters else None


def _throttled(root: Path) -> bool | None:
    """Returns whether a clock is lowered now; None where the machine has nothing that says so."""
    signs = [int(line, 16) & NOW > 0 for line in _lines(root / FIRMWARE)]
    for device in sorted(root.glob("sys/class/thermal/cooling_device*")):
        if any(line.startswith(CLOCKED_DOWN) for line in _lines(device / "type")):
            signs += [int(line) > 0 for line in _lines(device / "cur_state")]
    return any(signs) if signs else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _tick_s() -> float:
    return 1 / os.sysconf("SC_CLK_TCK")


def _gain(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _sum(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
