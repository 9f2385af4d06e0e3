"""Measures what a bundle costs on this machine: time of each part, frames a second, memory, power, start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from edgecompile.errors import BundleError, RecipeError
from edgecompile.runtime import machine
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.detector import available_cores, chosen_size, open_bundle, target_of
from edgecompile.runtime.pictures import decode_picture
from edgecompile.runtime.power import find_meter

PARTS = ("read", "preprocess", "inference", "postprocess", "predict", "total")
PREDICT = ("preprocess", "inference", "postprocess")
"""Parts of a prediction of a picture that is in memory: what the gates of a recipe are about."""
WARM_UP = 10
FEWEST = 100
"""Predictions that are timed at least, where the number of rounds is not given."""

START = """
import json, sys, time
began = time.perf_counter()
from pathlib import Path
from edgecompile.runtime import Archive
from edgecompile.runtime.detector import open_bundle
with Archive(Path(sys.argv[1])) as archive:
    model = open_bundle(archive, threads=int(sys.argv[3]), engine=Path(sys.argv[4]) if sys.argv[4] else None)
opened = time.perf_counter()
model.predict(sys.argv[2])
first = time.perf_counter()
for _ in range(10):
    model.predict(sys.argv[2])
from edgecompile.runtime.bench import peak_memory
marks = {"open": opened - began, "first_prediction": first - opened, "total": first - began}
print(json.dumps({"start_ms": {name: 1e3 * value for name, value in marks.items()}, "peak_memory": peak_memory()}))
"""
"""What a fresh process runs to tell the time from the first import to the first boxes, and its peak memory."""


def bench(
    archive: Archive,
    pictures: Sequence[Path],
    *,
    threads: int | None,
    rounds: int | None,
    imgsz: tuple[int, int] | None = None,
    batch: int = 1,
) -> dict[str, Any]:
    """Predicts pictures from their files, one run after another, and returns figures.

    Args:
        pictures: the golden picture of the bundle where there are none.
        rounds: how often each picture begins a run; as often as makes `FEWEST` runs where None.
        imgsz: height and width that pictures are scaled to; the bundle's where None.
        batch: pictures of one run.

    Returns:
        latency_ms: part of a run to p50, p95, p99 (read is from file to pixels; predict from there to boxes; total is
        all of it); fps, pictures a second of total; predict_fps, of predict; jitter_ms, p95 - p50 of total; start_ms:
        open (import and compile), first_prediction, total, of a fresh process; peak_memory_mb, of that process, 10^6
        bytes; power_watt, fps_per_watt (of predict) and power_meter, None where this machine has no meter, with the
        reason in no_meter; temperature_c, before and after; machine; power_mode; pictures, batch, imgsz, predictions
        (runs), threads, backend, bundle.
    """
    threads = threads or min(target_of(archive)["threads"], available_cores())
    with tempfile.TemporaryDirectory(prefix="edgecompile-") as folder:
        paths = [str(path) for path in pictures] or [golden_picture(archive, Path(folder))]
        detector = open_bundle(archive, threads=threads)
        height, width = chosen_size(detector.layout, imgsz) if imgsz else detector.layout.frame.size
        if batch > detector.layout.input.batches[1]:
            raise RecipeError(f"batch is {batch}, and the bundle takes {detector.layout.input.batches[1]} at most")
        stacks = [[paths[(first + slot) % len(paths)] for slot in range(batch)] for first in range(len(paths))]
        for number in range(WARM_UP):
            detector.predict_batch(stacks[number % len(stacks)], imgsz=(height, width))
        start = fresh_process(archive.path, paths[0], threads)
        rounds = rounds or -(-FEWEST // len(paths))
        samples: dict[str, list[float]] = {part: [] for part in PARTS}
        meter, no_meter = find_meter(gpu=getattr(detector.backend, "gpu", False))
        warm = machine.temperature()
        with meter or nullcontext():
            for stack in stacks * rounds:
                began = time.perf_counter()
                detector.predict_batch(stack, imgsz=(height, width))
                samples["total"].append(1e3 * (time.perf_counter() - began))
                for part, value in detector.timings.items():
                    samples[part].append(value)
                samples["predict"].append(sum(detector.timings[part] for part in PREDICT))
    watts = meter.watts if meter else None
    predict_fps = 1e3 * batch / float(np.mean(samples["predict"]))
    latency = {part: percentiles(values) for part, values in samples.items()}
    return {
        "bundle": archive.path.name,
        "sha256": archive.digest,
        "backend": f"{target_of(archive)['backend']} {detector.backend.version}",
        "threads": threads,
        "pictures": len(paths),
        "predictions": len(samples["total"]),
        "latency_ms": latency,
        "batch": batch,
        "imgsz": [height, width],
        "fps": round(1e3 * batch / float(np.mean(samples["total"])), 2),
        "predict_fps": round(predict_fps, 2),
        "jitter_ms": round(latency["total"]["p95"] - latency["total"]["p50"], 3),
        "start_ms": {name: round(value, 1) for name, value in start["start_ms"].items()},
        "peak_memory_mb": round(start["peak_memory"] / 1e6, 1),
        "power_watt": round(watts, 2) if watts else None,
        "fps_per_watt": round(predict_fps / watts, 3) if watts else None,
        "power_meter": meter.name if meter and watts else None,
        "no_meter": None if watts else no_meter or "the power meter gave no reading",
        "temperature_c": [warm, machine.temperature()],
        "machine": machine.describe(),
        "power_mode": machine.power_mode(),
    }


def peak_memory() -> int:
    """Returns the most memory this process had resident, in bytes.

    On Linux from /proc: `getrusage` keeps the peak that the parent had before this program was started in its place.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def percentiles(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Returns the median and the 95th and 99th percentile."""
    return {f"p{rank}": round(float(np.percentile(values, rank)), 3) for rank in (50, 95, 99)}


def golden_picture(archive: Archive, folder: Path) -> str:
    """Writes the golden picture of a bundle to a file and returns its path."""
    name = (archive.manifest.get("golden") or {}).get("input", "")
    content = archive.read(name)
    decode_picture(content, f"{archive.path}:{name}")
    path = folder / Path(name).name
    path.write_bytes(content)
    return str(path)


def fresh_process(bundle: Path, picture: str, threads: int, engine: Path | None = None) -> dict[str, Any]:
    """Loads the bundle and predicts in a process of its own; returns what that took.

    Args:
        engine: folder of the built model, where it is not the one that `load` would take.

    Raises:
        BundleError: the process failed.
    """
    package = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", START, str(bundle), picture, str(threads), str(engine or "")]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:] or ["no message"]
        raise BundleError(f"cannot be measured in a process of its own: {last[0]}", where=str(bundle))
    return json.loads(ended.stdout.strip().splitlines()[-1])
