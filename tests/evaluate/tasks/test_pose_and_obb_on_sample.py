"""The embedded models of poses and rotated boxes: figures are those of Ultralytics' validation, results of pictures
those of its prediction."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from exported import SAMPLE, run_code

from edgecompile.evaluate.accuracy import evaluate
from edgecompile.graphs.openvino.ir_artifact import compile_ir
from edgecompile.runtime import open_artifact

from ..conftest import export, split, ultralytics_val

pytestmark = pytest.mark.slow

SIZE = 256
SETTINGS = {"conf": 0.001, "iou": 0.7, "max_det": 300}
READING: dict[str, dict[str, Any]] = {"pose": {"kpt_shape": [3, 3]}, "obb": {}}
ALLOWED = 0.003
PIXELS, RADIANS = 0.01, 1e-4
F32 = {"INFERENCE_PRECISION_HINT": "f32"}
SIZES = [(192, 256), (480, 640), (355, 501), (97, 333), (720, 405), (256, 256)]

PREDICT = """
import sys
sys.path.insert(0, {bench!r})
import ultralytics_without_torchvision
import numpy as np
from ultralytics import YOLO
model = YOLO({checkpoint!r}, task={task!r})
for number, picture in enumerate({pictures!r}):
    found = model.predict(picture, imgsz={size}, rect=False, verbose=False)[0]
    turned = found.obb is not None
    boxes = found.obb.xywhr if turned else found.boxes.xyxy
    beside = found.obb.xyxyxyxy if turned else found.keypoints.data
    classes = (found.obb if turned else found.boxes).cls
    np.savez(f"{out}/{{number}}.npz", boxes=boxes.numpy(), beside=beside.numpy(), classes=classes.numpy())
print("done")
"""


@pytest.fixture(scope="module", params=["pose", "obb"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """An embedded model at 256 by 256, so that its pictures need a border, and Ultralytics' figures of it."""
    task = request.param
    folder = tmp_path_factory.mktemp(task)
    checkpoint = SAMPLE / f"parts-{task}.pt"
    made = export(checkpoint, SIZE, folder / "model", task)
    data = shutil.copytree(SAMPLE / task, folder / "data") / "data.yaml"
    theirs = ultralytics_val(checkpoint, data, SIZE, "val", task)
    return SimpleNamespace(task=task, checkpoint=checkpoint, theirs=theirs, **vars(made))


def figures(
    out: Path, task: str, artifact: Path, spec: Path, backend: str, options: dict[str, Any]
) -> dict[str, float]:
    out.mkdir()
    data = split(SAMPLE / task, "val")
    paths: dict[str, Any] = {"artifact": artifact, "spec": spec, "pictures": data.pictures, "labels": data.labels}
    given: dict[str, Any] = {"backend": backend, "options": options, "threads": 1, "settings": SETTINGS}
    return evaluate(out, **paths, **given, reading=READING[task])["metrics"]


def test_onnx_runtime_equals_ultralytics(model: SimpleNamespace, tmp_path: Path) -> None:
    ours = figures(tmp_path / "out", model.task, model.model, model.spec, "onnxruntime", {})
    assert model.theirs["map50_95"] > 0.3
    assert ours == pytest.approx({name: model.theirs[name] for name in ours}, abs=ALLOWED)


def test_openvino_equals_ultralytics(model: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "ir"
    folder.mkdir()
    compile_ir(folder, model=model.model, spec=model.spec, half=False, separate_silu=False)
    ours = figures(tmp_path / "out", model.task, folder, folder / "spec.json", "openvino", F32)
    assert ours == pytest.approx({name: model.theirs[name] for name in ours}, abs=ALLOWED)


def test_results_of_pictures_equal_ultralytics(model: SimpleNamespace, tmp_path: Path) -> None:
    pictures = []
    for number, (height, width) in enumerate(SIZES):
        picture = cv2.imread(str(split(SAMPLE / model.task, "val").pictures[number]))
        pictures.append(str(tmp_path / f"{number}.png"))
        cv2.imwrite(pictures[-1], cv2.resize(picture, (width, height)))
    bench = str(Path(__file__).resolve().parents[3] / "bench")
    paths = {"bench": bench, "checkpoint": str(model.checkpoint), "pictures": pictures, "out": tmp_path}
    run_code(PREDICT.format(**paths, task=model.task, size=SIZE))
    predictor = open_artifact(model.model, model.spec, "onnxruntime", {}, 1)
    objects = 0
    for number, path in enumerate(pictures):
        found, expected = predictor.predict(path), np.load(tmp_path / f"{number}.npz")
        assert np.array_equal(found.classes, expected["classes"])
        if model.task == "obb":
            gaps = np.abs(found.xywhr - expected["boxes"])
            assert gaps[:, 4].max(initial=0) < RADIANS
            boxes, beside = gaps[:, :4], np.abs(found.corners - expected["beside"])
        else:
            boxes, beside = np.abs(found.boxes - expected["boxes"]), np.abs(found.key_points - expected["beside"])
        assert max(boxes.max(initial=0), beside.max(initial=0)) < PIXELS
        objects += len(found)
    assert objects >= 5
