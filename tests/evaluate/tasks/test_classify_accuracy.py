"""Classification where bundles are built: its spec, its labels, its metrics; and all of it against Ultralytics."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from exported import EXPORT, SAMPLE, run_step
from runtime.tasks.test_classify import NAMES, ROW, classify_spec, result

from edgecompile.data.class_name_labels import ClassNameLabel
from edgecompile.evaluate.tasks import OutputFacts, WholeLabel, find_task
from edgecompile.runtime import open_artifact
from edgecompile.runtime.tasks.classify import Classification

TASK = find_task("classify")
SIDE = Path(__file__).with_name("ultralytics_classification.py")
MOST_PROBABILITY_OFF = 1e-5
OF_A_CLASS = 20
ODD = ((11, 90), (64, 64), (65, 64), (301, 77), (90, 501), (33, 32))
"""Heights and widths."""


@pytest.mark.parametrize(("size", "resize"), [([64, 64], "crop"), ([64, 96], "stretch")])
def test_describes_what_ultralytics_does_with_pictures(size: list[int], resize: str) -> None:
    parts = TASK.describe([OutputFacts("output0", (1, 7))], "probabilities", {"imgsz": size})
    assert parts["output"] == {"name": "output0", "shape": [1, 7], "decode": "probabilities"}
    assert (parts["letterbox"]["size"], parts["letterbox"]["resize"]) == (size, resize)
    assert parts["letterbox"]["interpolation"] == "antialias"


def test_renamed_outputs() -> None:
    parts = TASK.renamed(classify_spec(), [(-1, 7)], ["out0"])
    assert parts == {"output": {"name": "out0", "shape": [-1, 7], "decode": "probabilities"}}
    assert TASK.renamed(classify_spec(), [(1, 7)], [])["output"]["name"] == "output0"


def test_gaps_are_differences_of_probabilities() -> None:
    other = ROW[None].copy()
    other[0, 2] += 0.25
    assert TASK.gaps([ROW[None]], [other], classify_spec()) == {"probabilities": pytest.approx(0.25)}
    assert TASK.tolerances([64, 64]) == {"probabilities": 2e-4}


def accuracy(*truth: str | None, names: tuple[str, ...] = NAMES) -> Any:
    labels = [ClassNameLabel(name) for name in truth]
    found = Classification(ROW, result().classes, names)
    return TASK.accuracy([TASK.judge(found, label, (40, 60)) for label in labels], labels, names)


def test_shares_of_pictures_whose_class_is_first_and_among_five() -> None:
    """The result names bee, dog, fox, cat, ant."""
    found = accuracy("bee", "bee", "ant", "gnu")
    assert found.metrics == {"top1": 0.5, "top5": 0.75}
    assert found.per_class == {
        "ant": {"top1": 0.0, "top5": 1.0, "objects": 1},
        "bee": {"top1": 1.0, "top5": 1.0, "objects": 2},
        "gnu": {"top1": 0.0, "top5": 0.0, "objects": 1},
    }
    assert (found.objects, found.found) == (4, 4)


def test_pictures_of_classes_that_the_model_lacks_count_for_nothing_and_are_remarked_upon() -> None:
    assert accuracy("bee", "yak", None).metrics == {"top1": 1.0, "top5": 1.0}
    assert accuracy("bee", "yak", None).pictures == 1  # as many prove what a gate on it says
    nothing = accuracy("yak")
    assert (nothing.metrics, nothing.per_class, nothing.objects) == ({"top1": 0.0, "top5": 0.0}, {}, 0)
    assert TASK.class_remarks(NAMES, NAMES) == TASK.class_remarks(NAMES[::-1], NAMES) == []
    assert TASK.class_remarks(["bee", "yak"], NAMES) == [
        "the model lacks 1 classes, whose pictures count for nothing: 'yak'"
    ]
    assert "knows no class of the data set" in TASK.class_remarks(["Bee", "yak"], NAMES)[0]


def test_of_two_classes_of_one_name_the_latter_is_meant_as_in_ultralytics() -> None:
    names = ("bee", "crane", "cat", "crane", "elk", "fox", "gnu")
    assert accuracy("crane", names=names).metrics["top1"] == 0.0  # crane is 1 and 3, and 1 is first
    assert accuracy("crane", names=names).metrics["top5"] == 1.0


def test_the_page_says_what_the_picture_is() -> None:
    golden = {"classes": [1, 3], "scores": [0.3, 0.2]}
    assert TASK.outlines(golden) == []
    assert TASK.whole_labels(golden) == [WholeLabel(1, 0.3), WholeLabel(3, 0.2)]
    assert TASK.results(result())[0] == {"category_id": 1, "score": 0.3}
    assert TASK.count_sure(result(), None) == 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the sample's pictures and some of odd sides, one turned by EXIF; Ultralytics writes files beside them."""
    pillow = pytest.importorskip("PIL.Image")
    target = tmp_path_factory.mktemp("classes")
    for split in ("train", "val"):
        for name in sorted((SAMPLE / "classify" / split).iterdir()):
            (target / split / name.name).mkdir(parents=True)
            for picture in sorted(name.iterdir())[:OF_A_CLASS]:
                shutil.copy(picture, target / split / name.name)
    noise = np.random.default_rng(3)
    for number, (height, width) in enumerate(ODD):
        coarse = noise.integers(0, 256, (max(height // 8, 1), max(width // 8, 1), 3), dtype=np.uint8)
        image = pillow.fromarray(coarse).resize((width, height))
        exif = pillow.Exif()
        exif[0x0112] = 6 if number % 2 else 1
        image.save(target / "val" / "pin" / f"odd_{number}.png", exif=exif)
    return target


def ultralytics_says(folder: Path, imgsz: int | list[int], scratch: Path) -> SimpleNamespace:
    command = [sys.executable, SIDE, SAMPLE / "parts-cls.pt", folder, json.dumps(imgsz), scratch]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.strip().splitlines()[-1])
    if not said:
        pytest.skip("torchvision is not here")
    return SimpleNamespace(**said)


def export(size: list[int], out: Path) -> Path:
    for package in ("onnx", "onnxruntime", "ultralytics"):
        pytest.importorskip(package)
    params = {**EXPORT, "imgsz": size, "task": "classify"}
    run_step(out, "edgecompile.passes.onnx_export:export", {"weights": SAMPLE / "parts-cls.pt"}, params)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("imgsz", [64, 96, [64, 96]])
def test_equals_ultralytics_on_each_picture_and_in_all(folder: Path, tmp_path: Path, imgsz: int | list[int]) -> None:
    """`val` and `predict` of the checkpoint, on squares, and on another shape, to which pictures stretch."""
    theirs = ultralytics_says(folder, imgsz, tmp_path / "scratch")
    size = [imgsz, imgsz] if isinstance(imgsz, int) else imgsz
    out = export(size, tmp_path / "export")
    model = open_artifact(out / "model.onnx", out / "spec.json", "onnxruntime", {}, 1)
    judged, labels = [], []
    pictures = sorted((folder / "val").rglob("*.*"))
    assert len(pictures) == OF_A_CLASS * 6 + len(ODD)
    for picture in pictures:
        found = model.predict(picture)
        off = np.abs(found.probabilities - np.array(theirs.probabilities[picture.name], np.float32)).max()
        assert off <= MOST_PROBABILITY_OFF, (picture.name, off)
        assert [label.class_id for label in found.top5] == theirs.top5[picture.name]
        labels.append(ClassNameLabel(picture.parent.name))
        judged.append(TASK.judge(found, labels[-1], (1, 1)))
    if hasattr(theirs, "figures"):
        metrics = TASK.accuracy(judged, labels, model.names).metrics
        assert [metrics["top1"], metrics["top5"]] == pytest.approx(theirs.figures, abs=1e-6)


WITH_TRANSFORMS = """
import sys
from pathlib import Path
sys.path.insert(0, {tools!r})
from sample.training import import_torchvision, prepare
prepare(Path({scratch!r}))
if import_torchvision():
    import torch
    from ultralytics.data.augment import classify_transforms
    content = torch.load({weights!r}, map_location="cpu", weights_only=False)
    content["model"].transforms = classify_transforms(64)
    torch.save(content, {target!r})
"""


@pytest.mark.slow
def test_a_checkpoint_as_training_leaves_it_holds_transforms_that_nobody_needs(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    target = tmp_path / "trained.pt"
    places = {"tools": str(SIDE.parents[3] / "tools"), "scratch": str(tmp_path), "target": str(target)}
    code = WITH_TRANSFORMS.format(weights=str(SAMPLE / "parts-cls.pt"), **places)
    made = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    if not target.is_file():
        pytest.skip(f"torchvision is not here {made.stderr[-300:]}")
    assert b"torchvision.transforms" in target.read_bytes()
    params = {**EXPORT, "imgsz": [64, 64], "task": "classify"}
    for weights, out in ((target, tmp_path / "trained"), (SAMPLE / "parts-cls.pt", tmp_path / "plain")):
        run_step(out, "edgecompile.passes.onnx_export:export", {"weights": weights}, params)
    assert (tmp_path / "trained/model.onnx").read_bytes() == (tmp_path / "plain/model.onnx").read_bytes()
