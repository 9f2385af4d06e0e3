"""Measures on the device what gates read: latency, frames a second, peak memory and power."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgecompile.runtime import machine
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.bench import WARM_UP, fresh_process, golden_picture, percentiles
from edgecompile.runtime.detector import Detector
from edgecompile.runtime.pictures import read_picture
from edgecompile.runtime.power import find_meter

PARTS = ("preprocess", "inference", "postprocess", "total")
PREDICTIONS = 100
SECONDS = 10.0


def measure(archive: Archive, detector: Detector, *, threads: int, engine: Path | None = None) -> dict[str, Any]:
    """Predicts the golden picture again and again.

    Args:
        threads: of the detector, and of the fresh process that tells the peak memory.
        engine: folder of the built model, where it is not the one that `load` would take.

    Returns:
        latency_ms (preprocess, inference, postprocess and total, each p50, p95, p99; a picture in memory to boxes),
        latency_p95_ms, fps (one after another), predictions, start_ms and peak_memory_mb (of a fresh process; 10^6
        bytes), power_watt, fps_per_watt, power_meter, temperature_c (before and after), threads, machine, unmeasured
        (gate to reason). None for what cannot be told.
    """
    with tempfile.TemporaryDirectory(prefix="edgecompile-") as folder:
        path = golden_picture(archive, Path(folder))
        image = read_picture(path)
        start = fresh_process(archive.path, path, threads, engine)
    for _ in range(WARM_UP):
        detector.predict(image)
    meter, no_meter = find_meter(gpu=getattr(detector.backend, "gpu", False))
    warm = machine.temperature()
    if meter is None:
        samples = _loop(detector, image)
    else:
        with meter:
            samples = _loop(detector, image)
    latency = {part: percentiles(samples[:, column]) for column, part in enumerate(PARTS)}
    fps = 1e3 / float(samples[:, -1].mean())
    watts = meter.watts if meter else None
    return {
        "latency_ms": latency,
        "latency_p95_ms": latency["total"]["p95"],
        "fps": round(fps, 2),
        "predictions": len(samples),
        "start_ms": {name: round(value, 1) for name, value in start["start_ms"].items()},
        "peak_memory_mb": round(start["peak_memory"] / 1e6, 1),
        "power_watt": round(watts, 2) if watts else None,
        "fps_per_watt": round(fps / watts, 3) if watts else None,
        "power_meter": meter.name if meter and watts else None,
        "temperature_c": [warm, machine.temperature()],
        "threads": threads,
        "machine": machine.describe(),
        "unmeasured": {} if watts else {"fps_per_watt": no_meter or "the power meter gave no reading"},
    }


def _loop(detector: Detector, image: np.ndarray) -> np.ndarray:
    """Returns milliseconds as (predictions, PARTS)."""
    samples: list[list[float]] = []
    deadline = time.perf_counter() + SECONDS
    while not samples or (len(samples) < PREDICTIONS and time.perf_counter() < deadline):
        since = time.perf_counter()
        detector.predict(image)
        total = 1e3 * (time.perf_counter() - since)
        samples.append([*(detector.timings[part] for part in PARTS[:-1]), total])
    return np.array(samples)
