"""Accuracy of every task on every runtime that this machine has, against Ultralytics' own validation.

    python bench/tasks.py

Builds the embedded sample of each task with one float and one INT8 recipe a runtime, without gates, and lets
Ultralytics validate the checkpoint with `val(rect=False)` on the same pictures. Prints the table of README.md. Exit
code 1 where a figure misses its limit.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import harness

FLOAT_LIMIT = 0.003
"""How far a float bundle may lie from Ultralytics, up or down."""
INT8_LIMIT = {"classify": 0.005}
"""Most that an INT8 bundle may lose against the float model; 0.01 for tasks that stand not here."""

RECIPES = {
    "ONNX Runtime": ("x86-cpu_onnxruntime_fp32", "x86-cpu_onnxruntime_int8"),
    "OpenVINO": ("x86-cpu_openvino_fp32", "x86-cpu_openvino_int8"),
    "ncnn": ("raspberry-pi-5_ncnn_fp32", "raspberry-pi-5_ncnn_int8"),
    "TensorRT (Q/DQ)": (None, "jetson-orin-nano_tensorrt_int8"),
}
"""Runtime: its float recipe and its INT8 recipe. The last is judged by ONNX Runtime on the ONNX that is shipped."""


@dataclass(frozen=True)
class Subject:
    """A task of the sample: names of its model and data, its checkpoint and data set, the size it was trained at."""

    task: str
    group: str
    weights: str
    data: str
    split: str
    imgsz: int
    metric: str = "map50_95"


SUBJECTS = (
    Subject("detect", "sample", "parts.pt", "data.yaml", "val", 256),
    Subject("segment", "sample-segment", "parts-seg.pt", "segment/data.yaml", "val", 192),
    Subject("pose", "sample-pose", "parts-pose.pt", "pose/data.yaml", "val", 192),
    Subject("obb", "sample-obb", "parts-obb.pt", "obb/data.yaml", "val", 192),
    Subject("classify", "sample-classify", "parts-cls.pt", "classify", "val", 64, "top1"),
)
SAMPLE = Path(__file__).resolve().parents[1] / "edgecompile/sample"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=[subject.task for subject in SUBJECTS], help="some of the tasks")
    parser.add_argument("--work", type=Path, help="folder for caches and bundles (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures: dict[str, object] = {"machine": harness.announce()}
    work = harness.workplace(options.work)
    copy = shutil.copytree(SAMPLE, work / "sample", dirs_exist_ok=True)
    met: list[bool] = []
    rows = []
    for subject in SUBJECTS:
        if options.tasks and subject.task not in options.tasks:
            continue
        theirs = validated(subject, copy)
        row = [subject.task, f"{theirs[subject.metric]:.4f}"]
        for runtime, recipes in RECIPES.items():
            for recipe, limit in zip(recipes, (FLOAT_LIMIT, INT8_LIMIT.get(subject.task, 0.01)), strict=True):
                if recipe is None:
                    continue
                found = built(recipe, subject, work)
                figures[f"{subject.task} {recipe}"] = found
                row.append(f"{found[subject.metric]:.4f}")
                if limit == FLOAT_LIMIT:
                    apart = abs(found[subject.metric] - theirs[subject.metric])
                    met.append(harness.verdict(f"{subject.task}, {runtime}: |float - Ultralytics|", apart, limit))
                else:
                    lost = found["reference"][subject.metric] - found[subject.metric]
                    met.append(harness.verdict(f"{subject.task}, {runtime}: loss of INT8", lost, limit))
        rows.append(row)
    columns = [
        f"{runtime} {kind}"
        for runtime, pair in RECIPES.items()
        for kind, name in zip(("float", "INT8"), pair, strict=True)
        if name
    ]
    print("\n| task | Ultralytics | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 2) + "|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return harness.conclude(options, figures, met)


def validated(subject: Subject, sample: Path) -> dict[str, float]:
    """Returns Ultralytics' figures of the checkpoint of a task.

    Args:
        sample: a copy of the embedded sample: Ultralytics leaves a cache beside the labels.
    """
    options = argparse.Namespace(weights=sample / subject.weights, data=sample / subject.data, imgsz=subject.imgsz)
    verb = "val-classify" if subject.task == "classify" else "val"
    return harness.ultralytics(verb, options, "--split", subject.split, "--task", subject.task)


def built(recipe: str, subject: Subject, work: Path) -> dict:
    """Builds a bundle of a task, without gates, and returns the figures of its manifest."""
    words = [f"recipe={recipe}", f"model={subject.group}", f"data={subject.group}"]
    words += [f"data.validation.split={subject.split}", *harness.NO_GATES]
    return harness.manifest(harness.built(harness.edgecompile("build", *words, work=work)))["figures"]


if __name__ == "__main__":
    sys.exit(main())
