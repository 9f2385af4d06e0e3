"""Step: what an artifact costs on this machine: time, memory and power, in a fresh process that has only the runtime.

The result is a measurement: its step runs alone, is keyed by the machine, and stays out of the bundle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from edgecompile.errors import StepError
from edgecompile.runtime import machine
from edgecompile.runtime.power import Meter, find_meter

PICTURES = 16
"""How many of the pictures are predicted, in turns."""

PARTS = ("preprocess", "inference", "postprocess", "total")

PINNED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables by which steps are held to one thread; a device has none of them."""

GATED = ("latency_p95_ms", "fps", "peak_memory_mb", "fps_per_watt")


def measure(
    out: Path,
    *,
    artifact: Path,
    spec: Path,
    pictures: list[Path],
    backend: str,
    options: dict[str, Any],
    threads: int,
    arch: str,
    gpu: bool = False,
    warmup: int = 10,
    predictions: int = 100,
    seconds: float = 10.0,
) -> dict[str, Any]:
    """Measures the artifact with `threads` threads, picture by picture.

    Args:
        arch: architecture of the target. On a machine of another one nothing is measured: an emulated or foreign
            latency says nothing about the device.
        gpu: whether the backend runs on a graphics processor, whose power then counts.
        warmup: predictions before the clock runs.
        predictions: how many are timed at most.
        seconds: for how long, at most.

    Returns:
        latency_ms (preprocess, inference, postprocess and total, each p50, p95, p99; a picture in memory to boxes),
        fps (one after another), jitter_ms (p95 - p50 of total), predictions, import_ms, open_ms, first_ms (the first
        prediction), peak_memory_mb (of the whole process; 10^6 bytes), power_watt, fps_per_watt, power_meter,
        temperature_c (before and after), threads, machine, unmeasured (gate to reason). None for what cannot be told.
    """
    here = machine.describe()
    if here["arch"] != arch:
        return _nothing(f"the target is {arch}, this machine {here['arch']}", threads, here)
    request = {
        "artifact": str(artifact.resolve()),
        "spec": str(spec.resolve()),
        "backend": backend,
        "options": options,
        "threads": threads,
        "pictures": [str(path.resolve()) for path in pictures[:PICTURES]],
        "warmup": warmup,
        "predictions": predictions,
        "seconds": seconds,
    }
    meter, no_meter = find_meter(gpu=gpu)
    warm = machine.temperature()
    began, looped = probe(request, meter)
    samples = np.array(looped["samples"])
    latency = {name: percentiles(samples[:, column]) for column, name in enumerate(PARTS)}
    fps = 1e3 / samples[:, PARTS.index("total")].mean()
    watts = meter.watts if meter else None
    return {
        "latency_ms": latency,
        "fps": round(fps, 2),
        "jitter_ms": round(latency["total"]["p95"] - latency["total"]["p50"], 3),
        "predictions": len(samples),
        **{name: round(began[name], 1) for name in ("import_ms", "open_ms", "first_ms")},
        "peak_memory_mb": round(looped["peak_memory_mb"], 1),
        "power_watt": round(watts, 2) if watts else None,
        "fps_per_watt": round(fps / watts, 3) if watts else None,
        "power_meter": meter.name if meter and watts else None,
        "temperature_c": [warm, machine.temperature()],
        "threads": threads,
        "machine": here,
        "unmeasured": {} if watts else {"fps_per_watt": no_meter or "the power meter gave no reading"},
    }


def percentiles(samples: np.ndarray) -> dict[str, float]:
    """Returns the median and the 95th and 99th percentile, rounded to microseconds where samples are milliseconds."""
    return {f"p{rank}": round(float(np.percentile(samples, rank)), 3) for rank in (50, 95, 99)}


def probe(request: dict[str, Any], meter: Meter | None = None) -> tuple[dict[str, float], dict[str, Any]]:
    """Runs `edgecompile.evaluate.probe` on a request and returns its two answers; the meter runs during the loop.

    Raises:
        StepError: when the process dies.
    """
    environment = {name: value for name, value in os.environ.items() if name not in PINNED}
    package = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "edgecompile.evaluate.probe"]
    with tempfile.TemporaryFile("w+") as messages:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, text=True, env=environment
        )
        try:
            began = _ask(process, json.dumps(request))
            with meter or nullcontext():
                looped = _ask(process, "go")
            return began, looped
        except (BrokenPipeError, EOFError):
            process.wait()
            messages.seek(0)
            last = messages.read().strip().splitlines()[-1:] or ["no message"]
            raise StepError(f"the measured process died (exit code {process.returncode}): {last[0]}") from None
        finally:
            process.kill()
            process.communicate()


def _ask(process: subprocess.Popen[str], line: str) -> dict[str, Any]:
    """Sends one line to the probe and returns its answer: the next line that is JSON, whatever else a library prints.

    Raises:
        EOFError, BrokenPipeError: when the process has ended.
    """
    process.stdin.write(line + "\n")
    process.stdin.flush()
    for answer in iter(process.stdout.readline, ""):
        if answer.startswith("{"):
            return json.loads(answer)
    raise EOFError


def _nothing(reason: str, threads: int, here: dict[str, Any]) -> dict[str, Any]:
    """Returns the facts of a measurement that cannot be taken here."""
    empty = ("latency_ms", "fps", "jitter_ms", "predictions", "import_ms", "open_ms", "first_ms", "peak_memory_mb")
    empty += ("power_watt", "fps_per_watt", "power_meter", "temperature_c")
    return {
        **dict.fromkeys(empty),
        "threads": threads,
        "machine": here,
        "unmeasured": dict.fromkeys(GATED, reason),
    }
