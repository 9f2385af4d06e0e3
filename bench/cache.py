"""Builds are incremental, quick the second time, and the same everywhere.

    python bench/cache.py yolo11n_bccd.pt bccd/data.yaml --imgsz 320 --recipe x86-cpu_openvino_int8

1. The second build of a recipe runs no step, takes under 2 s and imports no torch; `plan` takes under 1 s.
2. With one calibration picture changed, calibration and what follows run again and nothing else.
3. Two empty caches, two folders, two hash seeds, one and two free cores: bundles of one digest.
Exit code 1 where one of these does not hold. Works on a copy of the data.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

import harness

SECOND_BUILD_S = 2.0
PLAN_S = 1.0
REPEATS = 3


def main() -> int:
    parser = harness.arguments(__doc__)
    parser.add_argument("--recipe", default="x86-cpu_openvino_int8", help="shipped recipe to build")
    options = parser.parse_args()
    figures: dict = {"machine": harness.announce()}
    work = harness.workplace(options.work)
    options.data = copied(options.data, work / "data")

    first = harness.build(options.recipe, options, work)
    digest = sha256(harness.built(first))
    print(f"first build: {first.seconds:.1f} s, sha256 {digest[:16]}…")
    met = second_build(options, work, figures, digest)
    met += changed_picture(options, work, figures)
    met += elsewhere(options, work, figures)
    return harness.conclude(options, figures, met)


def second_build(options: argparse.Namespace, work: Path, figures: dict, digest: str) -> list[bool]:
    """Builds and plans again with everything in the store; the quickest of a few runs counts."""
    runs = [harness.build(options.recipe, options, work) for _ in range(REPEATS)]
    plans = [harness.edgecompile("plan", *harness.overrides_of(options.recipe, options), work=work) for _ in runs]
    figures["second_build_s"] = min(run.seconds for run in runs)
    figures["plan_s"] = min(run.seconds for run in plans)
    imported = imports(options, work)
    met = [
        harness.verdict("second build", figures["second_build_s"], SECOND_BUILD_S, digits=2, unit=" s"),
        harness.verdict("plan", figures["plan_s"], PLAN_S, digits=2, unit=" s"),
    ]
    met.append(
        harness.holds("the second build imports no torch, ultralytics or onnx", not imported, ", ".join(imported))
    )
    missed = states(options, work)
    met.append(harness.holds("the second build runs no step", not missed, ", ".join(missed)))
    met.append(
        harness.holds("the second bundle is the first, byte for byte", sha256(harness.built(runs[-1])) == digest)
    )
    return met


def changed_picture(options: argparse.Namespace, work: Path, figures: dict) -> list[bool]:
    """Changes one pixel of one calibration picture and asks the plan what it would run."""
    import cv2

    known = set(steps(options, work))
    picture = next(path for path in sorted((options.data.parent / "images" / "train").iterdir()))
    image = cv2.imread(str(picture))
    image[0, 0] = 255 - image[0, 0]
    cv2.imwrite(str(picture), image)
    missed = states(options, work)
    figures["changed_picture_reruns"] = missed
    untouched = sorted(known - set(missed))
    print(f"\nafter a change of {picture.name}: runs again {', '.join(missed)}; kept {', '.join(untouched)}")
    before = [name for name in missed if stage_of(options, work, name) in ("export", "fusion")]
    met = [
        harness.holds("a changed calibration picture reruns calibration or quantization", bool(missed)),
        harness.holds("it reruns no export and no fusion", not before, ", ".join(before)),
        harness.holds("it keeps the float model's evaluation", "reference.evaluate" not in missed),
    ]
    harness.built(harness.build(options.recipe, options, work))
    return met


def elsewhere(options: argparse.Namespace, work: Path, figures: dict) -> list[bool]:
    """Builds in two empty caches from two folders, with two hash seeds, on one core and on two."""
    digests = {}
    for name, seed, cores in (("one", "1", "0"), ("two", "77", "0,1")):
        folder = work / name / ("deep/er" if name == "two" else "")
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "edgecompile", "build", *harness.overrides_of(options.recipe, options)]
        pinned = ["taskset", "-c", cores, *command] if shutil.which("taskset") else command
        environment = {"PYTHONPATH": str(harness.HERE.parent), "PYTHONHASHSEED": seed}
        done = harness.run(pinned, cwd=folder, EDGECOMPILE_CACHE=str(folder / "cache"), **environment)
        where = f"cores {cores}, hash seed {seed}"
        digests[where] = sha256(harness.built(done))
        print(f"{where}: {done.seconds:.1f} s, sha256 {digests[where]}")
    figures["digests"] = digests
    return [harness.holds("two builds in two caches have one digest", len(set(digests.values())) == 1)]


def steps(options: argparse.Namespace, work: Path) -> dict[str, dict]:
    """Returns the steps of the plan by name, as `plan --json` tells them."""
    done = harness.edgecompile("plan", "--json", *harness.overrides_of(options.recipe, options), work=work)
    if done.code:
        sys.exit(f"plan failed:\n{done.stderr}")
    return {step["name"]: step for step in json.loads(done.stdout)["steps"]}


def states(options: argparse.Namespace, work: Path) -> list[str]:
    """Returns the names of the steps that would run."""
    return [name for name, step in steps(options, work).items() if not step["hit"]]


def stage_of(options: argparse.Namespace, work: Path, name: str) -> str:
    return steps(options, work)[name]["stage"]


def imports(options: argparse.Namespace, work: Path) -> list[str]:
    """Returns the heavy packages that a cached build imports in its own process (`-X importtime` lists all)."""
    command = [sys.executable, "-X", "importtime", "-m", "edgecompile", "build"]
    environment = {"PYTHONPATH": str(harness.HERE.parent), "EDGECOMPILE_CACHE": str(work / "cache")}
    done = harness.run([*command, *harness.overrides_of(options.recipe, options)], cwd=work, **environment)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    named = {line.rsplit("|", 1)[-1].strip().partition(".")[0] for line in lines}
    return sorted(named & {"torch", "ultralytics", "onnx", "onnxruntime", "openvino", "nncf"})


def copied(data: Path, target: Path) -> Path:
    """Copies the data set's folder, so that a picture can be changed, and returns the path of its data.yaml there."""
    if not target.exists():
        shutil.copytree(data.resolve().parent, target)
    return target / data.name


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
