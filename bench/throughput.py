"""Throughput of `Predictor.stream`, several inferences in flight, against `predict` one after another, paired.

    python bench/throughput.py yolo11n_bccd.pt bccd/data.yaml --imgsz 320 --threads 2 --pictures bccd/images/test

Builds the OpenVINO INT8 bundle with the latency and with the throughput hint. Each has a process of its own; predict
and stream take turns in it on the same pictures in memory, and ratios are medians over the rounds. Results must be
equal.
Exit code 1 where a stream is slower than one after another, or another result comes out.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

import harness

RECIPE = "x86-cpu_openvino_int8"
HINTS = ("latency", "throughput")
SLACK = 0.97
"""How much slower a stream may come out: what two equal loops differ by on a machine that does other things too."""


def main() -> int:
    if sys.argv[1:2] == ["--measure"]:
        return measure(*sys.argv[2:])
    parser = harness.arguments(__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads and cores (default 2)")
    parser.add_argument("--rounds", type=int, default=15, help="how often each way has its turn (default 15)")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures to predict on")
    options = parser.parse_args()
    figures = {"machine": harness.announce()}
    work = harness.workplace(options.work)
    met = []
    for hint in HINTS:
        bundle = harness.built(harness.build(RECIPE, options, work, f"target.hint={hint}"))
        command = [sys.executable, __file__, "--measure", bundle, options.pictures.resolve()]
        done = harness.run([*command, str(options.threads), str(options.rounds)], PYTHONPATH=harness.package_path())
        if done.code:
            sys.exit(f"measuring failed:\n{done.stderr.strip()[-2000:]}")
        figures[hint] = found = json.loads(done.last)
        print(
            f"{hint:10s} {found['in_flight']} in flight: predict {found['predict_fps']:.1f} FPS, "
            f"stream {found['stream_fps']:.1f} FPS"
        )
        met += [
            harness.verdict(f"{hint}: stream / predict", found["ratio"], SLACK, least=True, digits=2, unit="x"),
            harness.holds(f"{hint}: the stream gives what predict gives, in order", found["equal"]),
        ]
    return harness.conclude(options, figures, met)


def measure(bundle: str, pictures: str, threads: str, rounds: str) -> int:
    """Times both ways in turns in this process and prints the figures as JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    import numpy as np

    import edgecompile.runtime as rt

    model = rt.load(bundle, threads=int(threads))
    images = [rt.read_picture(path) for path in rt.find_pictures([pictures])[:32]]
    ways = {"predict": lambda: [model.predict(image) for image in images], "stream": lambda: list(model.stream(images))}
    found = {name: way() for name, way in ways.items()}  # also warms up
    equal = all(
        np.array_equal(one.boxes, other.boxes) and np.array_equal(one.scores, other.scores)
        for one, other in zip(found["predict"], found["stream"], strict=True)
    )
    fps: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(int(rounds)):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            fps[name].append(len(images) / (time.perf_counter() - began))
    ratio = statistics.median(two / one for one, two in zip(fps["predict"], fps["stream"], strict=True))
    print(
        json.dumps(
            {
                "in_flight": len(model.backend.requests()),
                "predict_fps": statistics.median(fps["predict"]),
                "stream_fps": statistics.median(fps["stream"]),
                "ratio": ratio,
                "equal": equal,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
