"""The process that is measured, which loads nothing but the runtime: `python -m edgecompile.runtime.probe`.

Reads a request (`edgecompile.runtime.measure.Subject` and `Extent` as one JSON line) from stdin, opens the artifact,
predicts once and prints the durations. When the next line arrives on stdin, it predicts in a loop and prints the
samples. Between the two its parent starts the power meter.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.errors import EdgecompileError
from edgecompile.runtime.confinement import confine

if TYPE_CHECKING:
    from edgecompile.runtime.predictor import Predictor

DOING = "doing: "
"""Prefix of the lines that report what the process is about to do, for the clock of the time limit."""
STARTUP = ("import_ms", "open_ms", "first_ms")


def main() -> int:
    """Answers one request; an error of this program is an answer too."""
    request = json.loads(sys.stdin.readline())
    confine(lambda operation: print(f"{DOING}{operation}", flush=True))
    try:
        _answer(request)
    except EdgecompileError as error:
        problems = [[problem.message, problem.where, problem.fix] for problem in error.problems]
        _say({"error": type(error).__name__, "problems": problems})
    return 0


def _answer(request: dict[str, Any]) -> None:
    began = time.perf_counter()
    from edgecompile.runtime.pictures import read_picture

    imported = time.perf_counter()
    model = _opened(request)
    channels = model.layout.input.channels
    opened = time.perf_counter()
    stacks = request["stacks"]
    settings = {"imgsz": request["imgsz"]} if request["imgsz"] else {}
    model.predict_batch([read_picture(path, channels) for path in stacks[0]], **settings)
    marks = (began, imported, opened, time.perf_counter())
    took = {name: 1e3 * (after - before) for name, before, after in zip(STARTUP, marks, marks[1:], strict=False)}
    _say({**took, "gpu": bool(getattr(model.backend, "gpu", False)), "backend": model.backend.version})

    sys.stdin.readline()
    for number in range(request["warmup"]):
        model.predict_batch([read_picture(path, channels) for path in stacks[number % len(stacks)]], **settings)
    samples: list[list[float]] = []
    deadline = time.perf_counter() + request["seconds"]
    while not samples or (len(samples) < request["predictions"] and time.perf_counter() < deadline):
        since = time.perf_counter()
        images = [read_picture(path, channels) for path in stacks[len(samples) % len(stacks)]]
        read = time.perf_counter()
        model.predict_batch(images, **settings)
        total = time.perf_counter() - read
        parts = (model.timings[part] for part in ("preprocess", "inference", "postprocess"))
        samples.append([1e3 * (read - since), *parts, 1e3 * total])
    _say({"samples": samples, "peak_memory_mb": peak_memory() / 1e6})


def _opened(request: dict[str, Any]) -> Predictor:
    """Opens the bundle of a request, or the artifact that is in no bundle yet."""
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.predictor import open_artifact, open_bundle

    if request["bundle"]:
        engine = Path(request["engine"]) if request["engine"] else None
        with Archive(Path(request["bundle"])) as archive:
            return open_bundle(archive, threads=request["threads"], engine=engine)
    artifact, spec = Path(request["artifact"]), Path(request["spec"])
    return open_artifact(artifact, spec, request["backend"], request["options"], request["threads"])


def peak_memory() -> int:
    """Returns the most memory that this process had resident, in bytes.

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


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.exit(main())
