"""What a machine does beside: read from a /proc and /sys of the test's own, and from the real one, with a neighbour."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgecompile.runtime.machine import usable_cores
from edgecompile.runtime.machine_load import between, observe

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
linux = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="/proc is Linux's")


def proc(root: Path, *, busy: float, stolen: float, own: float, switches: int, governor: str = "schedutil") -> Path:
    """Writes a /proc and a /sys in which all usable cores together have worked for so many seconds."""
    cores = usable_cores()
    each = round(busy * TICKS_A_SECOND / len(cores)), round(stolen * TICKS_A_SECOND / len(cores))
    lines = ["cpu 0 0 0 0 0 0 0 0 0 0", *(f"cpu{core} {each[0]} 0 0 999 7 0 0 {each[1]} 0 0" for core in cores)]
    process = root / f"proc/{os.getpid()}"
    (process / "task/1").mkdir(parents=True, exist_ok=True)
    (root / "proc/stat").write_text("\n".join([*lines, f"cpu{max(cores) + 1} 9999 0 0 0 0 0 0 0 0 0", "intr 1"]))
    ticks = round(own * TICKS_A_SECOND)
    (process / "stat").write_text(f"1 (a (strange) name) S 1 1 1 0 0 0 0 0 0 0 {ticks} 0 0 0 20 0")
    (process / "task/1/status").write_text(f"Name:\tx\nnonvoluntary_ctxt_switches:\t{switches}\n")
    clock = root / "sys/devices/system/cpu/cpu0/cpufreq"
    clock.mkdir(parents=True, exist_ok=True)
    (clock / "scaling_governor").write_text(f"{governor}\n")
    return root


def test_work_of_others_is_all_work_without_ones_own(tmp_path: Path) -> None:
    before = observe(root=proc(tmp_path, busy=100, stolen=1, own=10, switches=5))
    after = observe(root=proc(tmp_path, busy=100.6, stolen=1.2, own=10.4, switches=25, governor="powersave"))
    seconds = after.at - before.at
    load = between(before, after)
    capacity = seconds * len(usable_cores())
    assert load.foreign == pytest.approx(min(0.2 / capacity, 1))
    assert load.stolen == pytest.approx(min(0.2 / capacity, 1))
    assert load.switches_per_s == pytest.approx(20 / seconds)
    assert load.governor == ("schedutil", "powersave")


def test_a_machine_that_shows_nothing_is_unknown(tmp_path: Path) -> None:
    load = between(observe(root=tmp_path), observe(root=tmp_path))
    assert (load.foreign, load.stolen, load.switches_per_s, load.throttled) == (None, None, None, None)
    assert (load.mhz, load.governor, load.temperature_c) == ((None, None), (None, None), (None, None))


def test_heat_is_seen_by_counters_by_cooling_devices_and_by_firmware(tmp_path: Path) -> None:
    """Fakes: no machine at hand can be made too hot."""
    cool = tmp_path / "cool"
    counter = cool / "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    fan = cool / "sys/class/thermal/cooling_device0"
    for folder in (counter.parent, fan):
        folder.mkdir(parents=True)
    counter.write_text("7\n")
    (fan / "type").write_text("pwm-fan\n")
    (fan / "cur_state").write_text("3\n")
    before = observe(root=cool)
    assert between(before, observe(root=cool)).throttled is False, "a fan slows nothing, and old heat is past"
    counter.write_text("8\n")
    assert between(before, observe(root=cool)).throttled is True
    (fan / "type").write_text("thermal-cpufreq-0\n")
    assert observe(root=cool).throttled is True
    firmware = tmp_path / "pi/sys/devices/platform/soc/soc:firmware/get_throttled"
    firmware.parent.mkdir(parents=True)
    for said, slowed in (("0", False), ("50000", False), ("50005", True)):
        firmware.write_text(f"{said}\n")
        assert observe(root=tmp_path / "pi").throttled is slowed


@linux
def test_a_real_neighbour_is_seen_and_ones_own_process_is_none() -> None:
    """Other processes may run here too, so the own process is told from the neighbour by what counting it changes."""
    script = "import time\nend = time.time() + 30\nwhile time.time() < end: pass"
    neighbour = subprocess.Popen([sys.executable, "-S", "-c", script])
    try:
        time.sleep(0.2)
        strange, known = observe(), observe([neighbour.pid])
        time.sleep(0.6)
        strange_load, known_load = between(strange, observe()), between(known, observe([neighbour.pid]))
    finally:
        neighbour.kill()
        neighbour.wait()
    assert strange_load.foreign is not None
    assert known_load.foreign is not None
    used = 0.05 / len(usable_cores())  # a twentieth of a core at least, on whatever machine
    assert strange_load.foreign - known_load.foreign > used
