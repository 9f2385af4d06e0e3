"""Fixtures of the evaluation's tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from exported import CHECKPOINT, EXPORT, SAMPLE, run_step

SIZE = 256
ULTRALYTICS_SIDE = Path(__file__).resolve().parents[2] / "bench" / "ultralytics_side.py"


@pytest.fixture(scope="session")
def float_model(tmp_path_factory) -> SimpleNamespace:
    """The embedded model exported at 256 by 256, so that its pictures need a border: `model` and `spec`."""
    return export(CHECKPOINT, SIZE, tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="session")
def held_out() -> SimpleNamespace:
    """The sample's test split: `pictures` and `labels`."""
    return split(SAMPLE, "test")


def export(checkpoint: Path, size: int, folder: Path, task: str = "detect") -> SimpleNamespace:
    """Exports a checkpoint as the pass `onnx_export` does."""
    for package in ("onnx", "onnxruntime", "ultralytics"):
        pytest.importorskip(package)
    function, params = "edgecompile.passes.onnx_export:export", {**EXPORT, "imgsz": [size, size], "task": task}
    run_step(folder, function, {"weights": checkpoint}, params)
    return SimpleNamespace(model=folder / "model.onnx", spec=folder / "spec.json")


def split(folder: Path, name: str) -> SimpleNamespace:
    """Returns the pictures of a split and their label files."""
    pictures = sorted((folder / "images" / name).glob("*.jpg"))
    return SimpleNamespace(
        pictures=pictures, labels=[folder / "labels" / name / f"{picture.stem}.txt" for picture in pictures]
    )


def ultralytics_val(checkpoint: Path, data: Path, size: int, name: str, task: str = "detect") -> dict:
    """Returns the figures of Ultralytics' own validation; it runs in a process of its own."""
    command = [
        sys.executable,
        ULTRALYTICS_SIDE,
        "val",
        checkpoint,
        data,
        "--imgsz",
        size,
        "--split",
        name,
        "--task",
        task,
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
