"""A sweep of 12 points against 12 builds that share nothing.

    python bench/sweep_ratio.py yolo11n_bccd.pt bccd/data.yaml

The points are 2 targets (ONNX Runtime, OpenVINO) x 2 input sizes x 3 precisions (fp32, fp16, int8). Half of the
separate builds, each with an empty store, come before the sweep and half after it, so that a drift of the machine
touches both sides. Exit code 1 where the sweep is not at least 3 times as quick, or a step that points share ran twice.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections import Counter
from pathlib import Path

import harness

LEAST = 3.0
TARGETS = ("x86-cpu_onnxruntime", "x86-cpu_openvino")
SIZES = (256, 320)
PASSES = {"fp32": "", "fp16": ", fp16", "int8": ", int8_static"}
RECIPE = """\
defaults:
  - /pass@passes: [onnx_export, simplify{passes}]
  - _self_
model: {{weights: {weights}}}
data:
  path: {data}
  calibration: {{images: {calibration}}}
  validation: {{split: {split}, images: {validation}}}
"""


def main() -> int:
    parser = harness.arguments(__doc__)
    parser.add_argument("--launcher", default="basic", help="of the sweep, such as joblib (default basic)")
    parser.add_argument("--images", type=int, help="at most so many to calibrate and to validate (default all)")
    options = parser.parse_args()
    figures: dict = {"machine": harness.announce()}
    work = harness.workplace(options.work)
    recipes = [written(precision, options, work) for precision in PASSES]

    points = list(itertools.product(recipes, TARGETS, SIZES))
    half = len(points) // 2
    apart = [alone(number, *point, work) for number, point in enumerate(points[::2])]
    swept = sweep(recipes, options.launcher, work)
    apart += [alone(half + number, *point, work) for number, point in enumerate(points[1::2])]

    figures |= {"sweep_s": swept, "separate_s": apart, "ratio": sum(apart) / swept}
    print(f"\n12 separate builds {sum(apart):.1f} s, one sweep of the same points {swept:.1f} s")
    met = [harness.verdict("separate builds / sweep", figures["ratio"], LEAST, least=True, digits=2)]
    figures["work_ratio"] = work_ratio(work)
    print(f"seconds of steps, each point by itself / each step once: {figures['work_ratio']:.2f}")
    twice = [f"{count} times {name}" for name, count in ran(work).items() if count > 1]
    met.append(harness.holds("no step ran twice in the sweep", not twice, ", ".join(twice)))
    return harness.conclude(options, figures, met)


def written(precision: str, options: argparse.Namespace, work: Path) -> Path:
    """Writes the recipe of a precision and returns its path."""
    paths = {"weights": options.weights.resolve(), "data": options.data.resolve()}
    file = work / f"{precision}.yaml"
    counts = {"calibration": options.images or 300, "validation": options.images or "null"}
    file.write_text(RECIPE.format(passes=PASSES[precision], split=options.split, **paths, **counts))
    return file


def alone(number: int, recipe: Path, target: str, size: int, work: Path) -> float:
    """Builds one point with an empty store and returns the seconds that took."""
    words = [recipe, f"target={target}", f"model.imgsz={size}"]
    done = harness.edgecompile("build", *words, work=work, cache=work / f"cache-{number}")
    harness.built(done)
    print(f"{done.seconds:6.1f} s  {recipe.stem} {target} {size}", flush=True)
    return done.seconds


def sweep(recipes: list[Path], launcher: str, work: Path) -> float:
    """Builds all points in one sweep with an empty store and returns the seconds that took."""
    words = ["-m", *recipes, f"target={','.join(TARGETS)}", f"model.imgsz={','.join(map(str, SIZES))}"]
    words.append(f"hydra/launcher={launcher}")
    if launcher == "joblib":  # one that waits to measure lets another point have the cores
        words.append(f"hydra.launcher.n_jobs={3 * len(os.sched_getaffinity(0))}")
    done = harness.edgecompile("build", *words, work=work, cache=work / "cache-sweep")
    if done.code:
        sys.exit(f"sweep failed with exit code {done.code}:\n{done.stderr.strip()[-2000:]}")
    print(f"{done.seconds:6.1f} s  the sweep", flush=True)
    return done.seconds


def work_ratio(work: Path) -> float:
    """Returns how many times the work of the sweep 12 separate builds are, by the seconds that its steps took."""
    reports = [json.loads(file.read_text()) for file in work.glob("outputs/sweeps/*/*/report.json")]
    steps = [step for report in reports for step in report["steps"]]
    once = [step["run"]["wall_s"] for step in steps if step["run"]["state"] == "ran"]
    return sum(step["run"]["wall_s"] for step in steps) / sum(once)


def ran(work: Path) -> Counter[str]:
    """Returns how often each result was made, by step and key; what was measured has no key and counts for itself."""
    reports = [json.loads(file.read_text()) for file in work.glob("outputs/sweeps/*/*/report.json")]
    steps = [step for report in reports for step in report["steps"] if step["run"]["state"] == "ran" and step["key"]]
    return Counter(f"{step['name']} {step['key'][:12]}" for step in steps)


if __name__ == "__main__":
    sys.exit(main())
