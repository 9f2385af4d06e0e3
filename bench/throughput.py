"""Throughput of `Predictor.stream` in both settings against `predict` one after another, interleaved.

    python bench/throughput.py yolo11n_bccd.pt bccd/data.yaml --imgsz 320 --threads 2 --pictures bccd/images/test

Builds bundles for OpenVINO and ONNX Runtime in INT8 and for ncnn in float. Each has a process of its own, in which
`predict`, a stream as the model is open (latency) and a stream in the runtime's setting for many (throughput) take
turns on the same pictures in memory: A B C A B C. Ratios are medians over the rounds, with their quartiles. Results
must be equal, and in order.
Exit code 1 where a stream in the setting for many is slower than one after another, or gives another result.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

import harness

RECIPES = ("x86-cpu_openvino_int8", "x86-cpu_onnxruntime_int8", "raspberry-pi-5_ncnn_fp32")
SETTINGS = ("latency", "throughput")
SLACK = 0.97
"""How much slower a stream may come out: what two equal loops differ by on a machine that does other things too."""


def main() -> int:
    if sys.argv[1:2] == ["--measure"]:
        return measure(*sys.argv[2:])
    parser = harness.arguments(__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads and cores (default 2)")
    parser.add_argument("--rounds", type=int, default=15, help="how often each way has its turn (default 15)")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures to predict on")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="recipes to build (default: the three above)")
    parser.add_argument("--bundles", type=Path, nargs="+", help="bundles that were built already, instead of recipes")
    options = parser.parse_args()
    figures = {"machine": harness.announce()}
    work = harness.workplace(options.work)
    met = []
    bundles = options.bundles or [harness.built(harness.build(recipe, options, work)) for recipe in options.recipes]
    for bundle in bundles:
        command = [sys.executable, __file__, "--measure", bundle.resolve(), options.pictures.resolve()]
        done = harness.run([*command, str(options.threads), str(options.rounds)], PYTHONPATH=harness.package_path())
        if done.code:
            sys.exit(f"measuring failed:\n{done.stderr.strip()[-2000:]}")
        name = bundle.name.partition(".")[0]
        figures[name] = found = json.loads(done.last)
        print(f"{name}: predict {found['fps']['predict']:.1f} FPS")
        for setting in SETTINGS:
            low, middle, high = found["ratio"][setting]
            print(
                f"  stream {found['pipeline'][setting]}: {found['fps'][setting]:.1f} FPS, "
                f"{middle:.2f} times predict (quartiles {low:.2f} to {high:.2f})"
            )
        ratio = found["ratio"]["throughput"][1]
        met += [
            harness.verdict(f"{name}: stream / predict", ratio, SLACK, least=True, digits=2, unit="x"),
            harness.holds(f"{name}: streams give what predict gives, in order", found["equal"]),
        ]
    return harness.conclude(options, figures, met)


def measure(bundle: str, pictures: str, threads: str, rounds: str) -> int:
    """Times the ways in turns in this process and prints the figures as JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    import edgecompile.runtime as rt

    model = rt.load(bundle, threads=int(threads))
    images = [rt.read_picture(path) for path in rt.find_pictures([pictures])[:32]]
    images *= -(-32 // len(images))
    pipelines = {}

    def stream(setting: str) -> list:
        with model.stream(images, hint=setting) as results:
            pipelines[setting] = str(results.pipeline)
            return list(results)

    ways = {
        "predict": lambda: [model.predict(image) for image in images],
        **{setting: lambda setting=setting: stream(setting) for setting in SETTINGS},
    }
    found = {name: [model.task.golden(result) for result in way()] for name, way in ways.items()}  # also warms up
    fps: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(int(rounds)):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            fps[name].append(len(images) / (time.perf_counter() - began))
    ratios = {name: [two / one for one, two in zip(fps["predict"], fps[name], strict=True)] for name in SETTINGS}
    print(
        json.dumps(
            {
                "pipeline": pipelines,
                "fps": {name: statistics.median(values) for name, values in fps.items()},
                "ratio": {name: statistics.quantiles(values, n=4) for name, values in ratios.items()},
                "equal": all(found[name] == found["predict"] for name in SETTINGS),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
