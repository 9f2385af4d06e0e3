"""The process that is measured, which loads nothing but the runtime: `python -m edgecompile.runtime.probe`.

Reads a request (`edgecompile.runtime.measure.Subject` as one JSON line) from stdin, opens the artifact, predicts once
and prints the durations. Each further line is a turn (`Turn` as JSON): it predicts for a while, prints the samples, and
waits. So several processes can be measured in turns, and a power meter be started in between. A line with
`stream_seconds` has it measure streams instead, one with `golden` compare a bundle's outputs with the golden ones.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from edgecompile.errors import EdgecompileError
from edgecompile.runtime.accelerator_memory import Taken, taken_by
from edgecompile.runtime.confinement import confine
from edgecompile.runtime.reference_load import reference_ms

if TYPE_CHECKING:
    from edgecompile.runtime.predictor import Predictor

DOING = "doing: "
"""Prefix of the lines that report what the process is about to do, for the clock of the time limit."""
MOST_PICTURES = 32
"""Pictures that streams are measured on: all are in memory at once."""
PR_SET_PDEATHSIG = 1
"""Of prctl(2): which signal this process gets when its parent ends."""
STARTUP = ("import_ms", "open_ms", "first_ms")


class Turn(TypedDict):
    """What a turn consists of: predictions before the clock runs; then predictions for `seconds`, `least` of them at
    least and `most` at most, None for as many as there is time for."""

    warmup: int
    least: int
    most: int | None
    seconds: float


class Turned(TypedDict):
    """What a turn found: milliseconds of each part (`edgecompile.runtime.measurement.PARTS`) of each prediction; of the
    reference load behind them; the most memory so far, in MB, of the process and on an accelerator (None where it has
    none); and who counts the latter."""

    samples: list[list[float]]
    reference_ms: float
    peak_memory_mb: float
    accelerator_mb: float | None
    accelerator_meter: str | None


def main() -> int:
    """Answers one request; an error of this program is an answer too."""
    _die_with_parent()
    request = json.loads(sys.stdin.readline())
    confine(lambda operation: print(f"{DOING}{operation}", flush=True))
    try:
        _answer(request)
    except EdgecompileError as error:
        problems = [[problem.message, problem.where, problem.fix] for problem in error.problems]
        _say({"error": type(error).__name__, "problems": problems})
    return 0


def _die_with_parent() -> None:
    """Has the kernel end this process with its parent: where it is stopped between turns, it would not see that its
    input has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _answer(request: dict[str, Any]) -> None:
    began = time.perf_counter()
    import edgecompile.runtime.pictures  # noqa: F401 - NumPy and OpenCV count as the import

    imported = time.perf_counter()
    from edgecompile.runtime.backends import import_library

    known = bool(request["backend"]) and import_library(request["backend"])
    library_mb = resident_memory() / 1e6
    model = _opened(request)
    model_mb = resident_memory() / 1e6 - library_mb
    opened = time.perf_counter()
    predictions = _Predictions(model, request["stacks"], {"imgsz": request["imgsz"]} if request["imgsz"] else {})
    predictions.next()
    marks = (began, imported, opened, time.perf_counter())
    took = {name: 1e3 * (after - before) for name, before, after in zip(STARTUP, marks, marks[1:], strict=False)}
    about = {
        "gpu": bool(getattr(model.backend, "gpu", False)),
        "backend": model.backend.version,
        "bound_bytes": getattr(model.backend, "bound_bytes", None),
        "memory_mb": {"library": library_mb, "model": model_mb} if known else None,
    }
    _say({**took, **about})
    for line in sys.stdin:
        asked = json.loads(line)
        if "stream_seconds" in asked:
            _say(predictions.stream(asked["stream_seconds"]))
        elif "golden" in asked:
            _say({"checks": _golden_checks(Path(request["bundle"]), model)})
        else:
            _say(_turn(predictions, asked))


def _golden_checks(bundle: Path, model: Predictor) -> list[Mapping[str, Any]]:
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.finished import check_document
    from edgecompile.runtime.golden import check_golden

    with Archive(bundle) as archive:
        return [check_document(check) for check in check_golden(archive, model)]


class _Predictions:
    """Predictions on the pictures of a request, in turns.

    Args:
        stacks: files of the pictures of each run.
        settings: of each prediction.
    """

    def __init__(self, model: Predictor, stacks: list[list[str]], settings: dict[str, Any]) -> None:
        self._model, self._stacks, self._settings = model, stacks, settings
        self._count = 0

    def accelerator_memory(self) -> Taken | None:
        """Returns what the model takes on an accelerator."""
        return taken_by(self._model.backend)

    def next(self) -> list[float]:
        """Predicts once and returns the milliseconds of each part."""
        from edgecompile.runtime.pictures import read_picture

        files = self._stacks[self._count % len(self._stacks)]
        self._count += 1
        since = time.perf_counter()
        images = [read_picture(path, self._model.layout.input.channels) for path in files]
        read = time.perf_counter()
        self._model.predict_batch(images, **self._settings)
        total = time.perf_counter() - read
        parts = (self._model.timings[part] for part in ("preprocess", "inference", "postprocess"))
        return [1e3 * (read - since), *parts, 1e3 * total]

    def stream(self, seconds: float) -> Mapping[str, Any]:
        """Measures streams of the pictures, read before, and returns `StreamRate` as JSON."""
        from edgecompile.runtime.measure_streams import stream_rate
        from edgecompile.runtime.pictures import read_picture

        files = [file for stack in self._stacks for file in stack][:MOST_PICTURES]
        images = [read_picture(path, self._model.layout.input.channels) for path in files]
        return cast("Mapping[str, Any]", stream_rate(self._model, images, seconds, **self._settings).to_json())


def _turn(predictions: _Predictions, turn: Turn) -> Turned:
    """Predicts for a while. The reference load comes last: it must not cool the caches of what is measured."""
    for _ in range(turn["warmup"]):
        predictions.next()
    samples: list[list[float]] = []
    most, deadline = turn["most"], time.perf_counter() + turn["seconds"]
    while len(samples) < turn["least"] or time.perf_counter() < deadline:
        if most is not None and len(samples) >= most:
            break
        samples.append(predictions.next())
    taken = predictions.accelerator_memory()
    return {
        "samples": samples,
        "reference_ms": reference_ms(),
        "peak_memory_mb": peak_memory() / 1e6,
        "accelerator_mb": taken.megabytes if taken else None,
        "accelerator_meter": taken.meter if taken else None,
    }


def _opened(request: dict[str, Any]) -> Predictor:
    """Opens the bundle of a request, or the artifact that is in no bundle yet."""
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.backends import Setting
    from edgecompile.runtime.predictor import open_artifact, open_bundle

    if request["bundle"]:
        engine = Path(request["engine"]) if request["engine"] else None
        setting = Setting(request["threads"], request["options"]) if request["as_is"] else None
        with Archive(Path(request["bundle"])) as archive:
            return open_bundle(archive, threads=request["threads"], engine=engine, setting=setting)
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


def resident_memory() -> int:
    """Returns the memory that this process has resident, in bytes; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _say(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.exit(main())
