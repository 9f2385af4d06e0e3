"""Memory on accelerators. All of them are substitutes: no GPU, NPU or Ascend chip is at hand."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from edgecompile.runtime.accelerator_memory import taken_by
from edgecompile.runtime.backends import openvino
from edgecompile.runtime.machine import describe
from edgecompile.runtime.measured_gates import judge_one
from edgecompile.runtime.measurement import Measurement

RANKS: dict[str, Any] = {"latency_ms": {}, "fps": 10.0}


def nvml(*processes: tuple[int, int | None]) -> SimpleNamespace:
    """Stands for nvidia-ml-py on a machine with one GPU that runs these processes."""
    running = [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in processes]
    return SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda place: place,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: running,
    )


def test_nvml_counts_what_this_process_takes(monkeypatch):
    on_gpu = SimpleNamespace(gpu=True)
    monkeypatch.setitem(sys.modules, "pynvml", nvml((os.getpid(), 250_000_000), (1, 900_000_000)))
    assert taken_by(on_gpu) == (250.0, "NVML")
    assert taken_by(SimpleNamespace()) is None, "a model on the CPU takes none of it"
    monkeypatch.setitem(sys.modules, "pynvml", nvml((os.getpid(), None)))
    assert taken_by(on_gpu) is None, "as on a Jetson, which tells none"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert taken_by(on_gpu) is None


@pytest.mark.parametrize(
    ("device", "property_name", "answer", "expected"),
    [
        ("GPU", "GPU_MEMORY_STATISTICS", {"usm_device": 90_000_000, "cl_mem": 10_000_000}, 100.0),
        ("GPU.1", "GPU_MEMORY_STATISTICS", {"usm_device": 5_000_000}, 5.0),
        ("NPU", "NPU_DEVICE_ALLOC_MEM_SIZE", 7_000_000, 7.0),
        ("CPU", "", None, None),
        ("AUTO:GPU,CPU", "", None, None),
    ],
)
def test_openvino_says_what_it_allocated(device, property_name, answer, expected):
    def get_property(asked: str, name: str) -> Any:
        assert (asked, name) == (device, property_name)
        return answer

    backend = object.__new__(openvino.Backend)
    backend.device, backend._core = device, SimpleNamespace(get_property=get_property)
    assert backend.accelerator_mb() == expected


def test_a_plugin_that_does_not_tell_is_unknown():
    def get_property(device: str, name: str) -> Any:
        raise RuntimeError("unsupported property")

    backend = object.__new__(openvino.Backend)
    backend.device, backend._core = "GPU", SimpleNamespace(get_property=get_property)
    assert backend.accelerator_mb() is None


def test_gates_on_memory_count_both_and_the_share_of_the_device():
    known = {"peak_memory_mb": 300.0, "device_memory_mb": 1000}
    plain = Measurement(describe(), 1, **RANKS, **known)
    beside = Measurement(describe(), 1, **RANKS, **known, accelerator_memory_mb=450.0, accelerator_memory_meter="NVML")
    assert [judge_one("peak_memory_percent", 70.0, one).met for one in (plain, beside)] == [True, False]
    assert [judge_one("peak_memory_mb", 700.0, one).met for one in (plain, beside)] == [True, False]
    assert str(judge_one("peak_memory_percent", 70.0, beside)).endswith("75.0 %, above the limit 70 %")
    unknown = Measurement(describe(), 1, **RANKS, peak_memory_mb=300.0)
    assert judge_one("peak_memory_percent", 70.0, unknown).met is False
