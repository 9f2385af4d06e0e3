"""Power meters, on folders that look like the kernel's, with readings that are known."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgecompile.runtime import machine, power
from edgecompile.runtime.power import EnergyMeter, find_meter


def rapl(sysfs: Path, zone: str, microjoules: int) -> Path:
    folder = sysfs / "class/powercap" / zone
    folder.mkdir(parents=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text("10000000\n")
    return folder / "energy_uj"


def jetson(sysfs: Path, rails: dict[str, tuple[int, int]]) -> None:
    folder = sysfs / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    folder.mkdir(parents=True)
    for channel, (label, (millivolts, milliamperes)) in enumerate(rails.items(), 1):
        (folder / f"in{channel}_label").write_text(f"{label}\n")
        (folder / f"in{channel}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{channel}_input").write_text(f"{milliamperes}\n")


@pytest.fixture
def clock(monkeypatch):
    """A clock of which every block lasts two seconds."""
    ticks = iter(range(0, 1000, 2))
    monkeypatch.setattr(power.time, "perf_counter", lambda: next(ticks))


def test_rapl_sums_the_packages_and_leaves_out_their_parts(tmp_path, clock):
    packages = [rapl(tmp_path, f"intel-rapl:{number}", 5_000_000) for number in (0, 1)]
    core = rapl(tmp_path, "intel-rapl:0:0", 0)
    meter, reason = find_meter(sysfs=tmp_path)
    assert (meter.name, reason) == ("RAPL processor package", "")
    with meter:
        for counter in (*packages, core):
            counter.write_text("8000000\n")
    assert meter.watts == pytest.approx((3 + 3) / 2)


def test_a_counter_that_wraps_is_not_negative_power(tmp_path, clock):
    counter = rapl(tmp_path, "intel-rapl:0", 9_000_000)
    meter, _ = find_meter(sysfs=tmp_path)
    with meter:
        counter.write_text("1000000\n")
    assert meter.watts == pytest.approx((10 - 9 + 1) / 2)


def test_jetson_reads_the_input_rail(tmp_path):
    jetson(tmp_path, {"VDD_IN": (5000, 2000), "VDD_CPU_GPU_CV": (5000, 900), "VDD_SOC": (5000, 500)})
    rapl(tmp_path, "intel-rapl:0", 0)
    meter, _ = find_meter(sysfs=tmp_path)
    with meter:
        pass
    assert (meter.name, meter.watts) == ("INA3221 VDD_IN", pytest.approx(10.0))


def test_a_jetson_without_an_input_rail_sums_its_rails(tmp_path):
    rails = {"VDD_GPU_SOC": (20000, 100), "VDD_CPU_CV": (20000, 700), "VIN_SYS_5V0": (5000, 1000)}
    jetson(tmp_path, rails)  # an AGX Orin, as its device tree names them
    meter, _ = find_meter(sysfs=tmp_path)
    assert meter.name == "INA3221 VDD_CPU_CV+VDD_GPU_SOC+VIN_SYS_5V0"
    with meter:
        pass
    assert meter.watts == pytest.approx(2 + 14 + 5)


def test_no_meter_gives_a_reason_not_a_number(tmp_path):
    assert find_meter(sysfs=tmp_path) == (None, "this machine has no power meter")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_counter_for_root_only_gives_a_reason(tmp_path):
    rapl(tmp_path, "intel-rapl:0", 0).chmod(0)
    assert find_meter(sysfs=tmp_path) == (None, "the processor's energy counter is readable by root only")


def test_a_counter_that_cannot_be_read_gives_a_reason(tmp_path):
    rapl(tmp_path, "intel-rapl:0", 0).write_text("?")
    assert find_meter(sysfs=tmp_path) == (None, "the processor's energy counter cannot be read")


def test_a_meter_that_fails_half_way_reads_nothing():
    readings = iter([[1.0]])

    def read() -> list[float]:
        try:
            return next(readings)
        except StopIteration:
            raise OSError from None

    meter = EnergyMeter("test", read, [0.0])
    with meter:
        pass
    assert meter.watts is None


def test_the_machine_is_described(tmp_path):
    for path, text in {
        "proc/meminfo": "MemTotal:        8000000 kB\nMemFree: 1 kB\n",
        "proc/cpuinfo": "processor : 0\nBogoMIPS : 108.00\n",
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2400000\n",
        "sys/class/thermal/thermal_zone0/temp": "48250\n",
        "sys/class/thermal/thermal_zone1/temp": "51000\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    board = machine.describe(tmp_path)
    assert board.cpu == "Raspberry Pi 5 Model B Rev 1.0"
    assert (board.memory_mb, board.governor, board.max_mhz) == (8192, "ondemand", 2400)
    assert machine.temperature(tmp_path) == 51.0


def test_a_machine_that_hides_itself_is_described_with_nulls(tmp_path):
    bare = machine.describe(tmp_path)
    assert (bare.memory_mb, bare.governor, bare.max_mhz) == (None, None, None)
    assert (bare.cores or 0) >= 1
    assert machine.temperature(tmp_path) is None


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_raspberry_pi_5_sums_the_rails_of_its_power_controller(tmp_path, monkeypatch):
    """The program is a stand-in that prints as `vcgencmd pmic_read_adc` does; no such board is here."""
    rails = (
        "   3V3_SYS_A current(1)=0.50000000A",
        " VDD_CORE_A current(7)=2.00000000A",
        "   3V3_SYS_V volt(9)=3.30000000V",
        " VDD_CORE_V volt(15)=0.75000000V",
        "   EXT5V_V volt(24)=5.10000000V",
    )
    program(tmp_path, "vcgencmd", "cat <<END\n" + "\n".join(rails) + "\nEND")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    meter, reason = find_meter(sysfs=tmp_path)
    with meter:
        pass
    assert (meter.name, reason) == ("PMIC rails", "")
    assert meter.watts == pytest.approx(0.5 * 3.3 + 2 * 0.75)


def test_raspberry_pi_4_has_no_such_controller(tmp_path, monkeypatch):
    """Its `vcgencmd` knows no such command and says so with exit code 0."""
    program(tmp_path, "vcgencmd", "echo 'error=1 error_msg=\"Command not registered\"'")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_meter(sysfs=tmp_path) == (None, "this machine has no power meter")


def test_power_mode_is_what_the_commands_of_this_machine_say(tmp_path, monkeypatch):
    program(tmp_path, "nvpmodel", "echo 'NV Power Mode: MAXN'")
    program(tmp_path, "vcgencmd", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    known = ("nvpmodel -q", "vcgencmd get_throttled", "no-such-program-here")
    assert machine.power_mode(known) == {"nvpmodel -q": "NV Power Mode: MAXN"}


def test_what_target_files_name_as_power_mode_is_recorded():
    """What a device file tells people to record is what `bench` records: no command is read from a file and run."""
    yaml = pytest.importorskip("yaml")
    for file in sorted((Path(__file__).parents[2] / "conf/target").glob("*.yaml")):
        board = yaml.safe_load(file.read_text()).get("board") or {}
        for command in filter(None, (one.strip() for one in board.get("power_mode", "").split(";"))):
            governor = command.startswith("cat /sys/devices/system/cpu/")  # `machine.describe` states it
            assert governor or command == "none" or command in machine.POWER_MODE, f"{file.name}: {command}"
