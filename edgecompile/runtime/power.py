"""Electrical power, on machines that measure it. Standard library only, so that it costs a measured process nothing.

Known meters, the meter that covers most of the device first:
    INA3221   current monitors on NVIDIA Jetson boards: the whole module at its input rail; on an AGX, which has no such
              rail, the sum of its rails.
    PMIC      the power controller of a Raspberry Pi 5, by `vcgencmd`: the rails of the board, but not what is plugged
              into it. A Raspberry Pi 4 has none.
    RAPL      energy counters of Intel and AMD processors: the processor packages. Often readable by root only.
    NVML      energy counter of an NVIDIA graphics processor, where the artifact runs on it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

INPUT_RAILS = ("VDD_IN", "POM_5V_IN")
"""Labels of the rail that feeds a whole Jetson module (Orin Nano, Orin NX and Xavier NX; Nano and TX2). An AGX has
none: its VIN_SYS_5V0 is one rail among others (rbonghi/jetson_stats, issue 344)."""

SAMPLE_SECONDS = 0.05

PMIC = ("vcgencmd", "pmic_read_adc")
_RAIL = re.compile(r"(\w+_[AV]) (?:current|volt)\(\d+\)=([\d.]+)[AV]")


class Meter(Protocol):
    """Measures while its `with` block runs; `watts` then holds the mean power, or None where it could not be read."""

    name: str
    watts: float | None

    def __enter__(self) -> Meter: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class EnergyMeter:
    """Mean power from counters of energy, read before and after.

    Args:
        name: of the measured parts, for the report.
        read: returns all counters, in joules.
        wrap: value at which each counter starts again from 0, in joules; 0 where it never does.
    """

    def __init__(self, name: str, read: Callable[[], list[float]], wrap: list[float]) -> None:
        self.name, self._read, self._wrap = name, read, wrap
        self.watts: float | None = None

    def __enter__(self) -> EnergyMeter:
        self._before, self._since = self._read(), time.perf_counter()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        seconds = time.perf_counter() - self._since
        try:
            after = self._read()
        except (OSError, ValueError):
            return
        used = 0.0
        for before, now, wrap in zip(self._before, after, self._wrap, strict=True):
            used += now - before + (wrap if now < before else 0.0)
        self.watts = used / seconds


class SampledMeter:
    """Mean power from readings of power, taken by a thread.

    Args:
        name: of the measured parts, for the report.
        read: returns the present power in watts.
        seconds: between two readings.
    """

    def __init__(self, name: str, read: Callable[[], float], seconds: float = SAMPLE_SECONDS) -> None:
        self.name, self._read, self._seconds = name, read, seconds
        self.watts: float | None = None

    def __enter__(self) -> SampledMeter:
        self._samples: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        if self._samples:
            self.watts = sum(self._samples) / len(self._samples)

    def _sample(self) -> None:
        while True:
            try:
                self._samples.append(self._read())
            except (OSError, ValueError, KeyError, subprocess.SubprocessError):
                return
            if self._done.wait(self._seconds):
                return


def find_meter(*, gpu: bool = False, sysfs: Path = Path("/sys")) -> tuple[Meter | None, str]:
    """Returns the best meter of this machine and "", or None and the reason why there is none.

    Args:
        gpu: whether the artifact runs on a graphics processor.
        sysfs: where the kernel shows its devices (another folder in tests).
    """
    for meter in (_ina3221(sysfs), _nvml() if gpu else None, None if gpu else _pmic()):
        if meter is not None:
            return meter, ""
    if gpu:
        return None, "no power meter of the graphics processor"
    return _rapl(sysfs)


def _ina3221(sysfs: Path) -> Meter | None:
    """Returns the meter of a Jetson module's input rail, or of the sum of its rails where none is the input."""
    rails: dict[str, tuple[Path, Path]] = {}
    for label in sorted(sysfs.glob("bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/in*_label")):
        channel = label.name[2:-6]
        volts, amperes = label.with_name(f"in{channel}_input"), label.with_name(f"curr{channel}_input")
        if volts.is_file() and amperes.is_file():
            rails[label.read_text().strip()] = (volts, amperes)
    if not rails:
        return None
    known = [name for name in INPUT_RAILS if name in rails]
    chosen = known[:1] or sorted(rails)

    def read() -> float:  # millivolts times milliamperes are microwatts
        return sum(_number(rails[name][0]) * _number(rails[name][1]) for name in chosen) / 1e6

    return SampledMeter(f"INA3221 {'+'.join(chosen)}", read)


def _pmic() -> Meter | None:
    """Returns the meter of a Raspberry Pi 5: the sum over the rails that state both a voltage and a current."""
    if not shutil.which(PMIC[0]):
        return None

    def read() -> float:
        output = subprocess.run(PMIC, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5).stdout
        rails = {name: float(value) for name, value in _RAIL.findall(output)}
        pairs = [(rails[name], rails[f"{name[:-1]}V"]) for name in rails if name.endswith("_A")]
        if not pairs:
            raise ValueError("no rail")
        return sum(amperes * volts for amperes, volts in pairs)

    try:
        read()
    except (OSError, ValueError, KeyError, subprocess.SubprocessError):
        return None
    return SampledMeter("PMIC rails", read, seconds=0.5)  # a program is run for each reading


def _rapl(sysfs: Path) -> tuple[Meter | None, str]:
    """Returns the meter of all processor packages: powercap zones of the first level, `intel-rapl:<package>`."""
    zones = [zone for zone in sorted(sysfs.glob("class/powercap/intel-rapl:*")) if zone.name.count(":") == 1]
    if not zones:
        return None, "this machine has no power meter"

    def read() -> list[float]:
        return [_number(zone / "energy_uj") / 1e6 for zone in zones]

    try:
        read()
        wrap = [_number(zone / "max_energy_range_uj") / 1e6 for zone in zones]
    except PermissionError:
        return None, "the processor's energy counter is readable by root only"
    except (OSError, ValueError):
        return None, "the processor's energy counter cannot be read"
    return EnergyMeter("RAPL processor package", read, wrap), ""


def _nvml() -> Meter | None:
    """Returns the meter of the first NVIDIA graphics processor; needs the distribution nvidia-ml-py."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # not installed, no driver, no device or too old a device: all mean "no meter"
        return None
    return EnergyMeter(
        "NVML graphics processor", lambda: [pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3], [0.0]
    )


def _number(path: Path) -> float:
    return float(path.read_text())
