from __future__ import annotations

import os
import platform

import pytest

from edgecompile.execute import hardware
from edgecompile.runtime import machine


@pytest.fixture(autouse=True)
def forget() -> None:
    hardware.isa_features.cache_clear()
    hardware.cpu_model.cache_clear()


def test_the_class_names_architecture_and_features_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(hardware.OVERRIDE, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(
        hardware, "_cpuinfo", lambda: ["model name\t: Some CPU", "flags\t: avx512_vnni sse fma avx2 avx"]
    )
    assert hardware.isa_class() == "x86_64+avx+avx2+fma+avx512_vnni"
    assert hardware.cpu_model() == "Some CPU"


def test_arm_boards_are_named_by_their_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(hardware.OVERRIDE, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    lines = ["processor\t: 0", "Features\t: fp asimd asimddp crc32", "Model\t\t: Raspberry Pi 5 Model B Rev 1.0"]
    monkeypatch.setattr(hardware, "_cpuinfo", lambda: lines)
    assert hardware.isa_class() == "aarch64+asimd+asimddp"
    assert hardware.cpu_model() == "Raspberry Pi 5 Model B Rev 1.0"


def test_the_environment_overrides_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hardware.OVERRIDE, "x86_64+avx2")
    assert hardware.isa_class() == hardware.fingerprint()["isa"] == "x86_64+avx2"


def test_this_machine_is_known() -> None:
    assert hardware.cpu_model()
    assert machine.usable_cores() == sorted(os.sched_getaffinity(0))
    assert hardware.available_memory_mb() > 0
    assert hardware.fingerprint()["cores"] == len(machine.usable_cores())
