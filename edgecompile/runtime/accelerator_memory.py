"""Memory that a process has taken on an accelerator, which no count of its own memory shows. Standard library, and
nvidia-ml-py where it is installed.

A backend that knows says so by a method `accelerator_mb()`; for a backend on an NVIDIA GPU (`gpu`) NVML does. No GPU,
NPU or Ascend chip was at hand: the tests have substitutes for them.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple


class Taken(NamedTuple):
    """Megabytes (10^6) on an accelerator, and who says so."""

    megabytes: float
    meter: str


def taken_by(backend: Any) -> Taken | None:
    """Returns the memory that the model of a backend takes on its accelerator; None where it has none, or hides it."""
    if hasattr(backend, "accelerator_mb"):
        taken: float | None = backend.accelerator_mb()
        return None if taken is None else Taken(taken, f"{type(backend).__module__.rpartition('.')[2]}")
    return _nvml(os.getpid()) if getattr(backend, "gpu", False) else None


def _nvml(process: int) -> Taken | None:
    """Returns the memory of a process on the first NVIDIA GPU; a Jetson, which shares its memory, tells none."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except Exception:  # not installed, no driver, no device: all mean that nothing is known
        return None
    used = [one.usedGpuMemory for one in running if one.pid == process and one.usedGpuMemory is not None]
    return Taken(sum(used) / 1e6, "NVML") if used else None
