"""A fresh process that loads nothing but the runtime, and says what it cost: `python -m edgecompile.evaluate.probe`.

Reads one JSON request from stdin, loads the artifact and predicts once; prints what that took. When the next line
arrives on stdin it predicts in a loop and prints the samples. Between the two its parent starts the power meter.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

STARTUP = ("import_ms", "open_ms", "first_ms")


def main() -> int:
    request = json.loads(sys.stdin.readline())
    began = time.perf_counter()
    from edgecompile.runtime import open_artifact
    from edgecompile.runtime.bench import peak_memory
    from edgecompile.runtime.pictures import read_picture

    imported = time.perf_counter()
    detector = open_artifact(
        Path(request["artifact"]), Path(request["spec"]), request["backend"], request["options"], request["threads"]
    )
    opened = time.perf_counter()
    pictures = [Path(path) for path in request["pictures"]]
    detector.predict(read_picture(pictures[0]))
    first = time.perf_counter()
    marks = (began, imported, opened, first)
    _say({name: 1e3 * (after - before) for name, before, after in zip(STARTUP, marks, marks[1:], strict=False)})

    sys.stdin.readline()
    for number in range(request["warmup"]):
        detector.predict(read_picture(pictures[number % len(pictures)]))
    samples: list[list[float]] = []
    deadline = time.perf_counter() + request["seconds"]
    while len(samples) < request["predictions"] and time.perf_counter() < deadline:
        image = read_picture(pictures[len(samples) % len(pictures)])
        since = time.perf_counter()
        detector.predict(image)
        total = 1e3 * (time.perf_counter() - since)
        timings = detector.timings
        samples.append([timings["preprocess"], timings["inference"], timings["postprocess"], total])
    _say({"samples": samples, "peak_memory_mb": peak_memory() / 1e6})
    return 0


def _say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.exit(main())
