"""The embedded segmenter: figures are those of Ultralytics' validation, masks those of its prediction to the pixel."""

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

CHECKPOINT, DATA = SAMPLE / "parts-seg.pt", SAMPLE / "segment"
SIZE = 256
SETTINGS = {"conf": 0.001, "iou": 0.7, "max_det": 300}
ALLOWED = 0.003
F32 = {"INFERENCE_PRECISION_HINT": "f32"}

PREDICT = """
import sys
sys.path.insert(0, {bench!r})
import ultralytics_without_torchvision
import numpy as np
from ultralytics import YOLO
model = YOLO({checkpoint!r}, task="segment")
for number, picture in enumerate({pictures!r}):
    found = model.predict(picture, imgsz={size}, rect=False, retina_masks=True, verbose=False)[0]
    masks = np.zeros((0,)) if found.masks is None else found.masks.data.numpy().astype(bool)
    np.savez_compressed(f"{out}/{{number}}.npz", masks=masks, boxes=found.boxes.data.numpy())
print("done")
"""


PEAK = """
import resource
import numpy as np
from edgecompile.runtime import open_artifact
predictor = open_artifact({model!r}, {spec!r}, "onnxruntime", {{}}, 1)
for _ in range(5):
    found = predictor.predict({picture!r})
assert len(found) > 3
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
MOST_MEMORY = 1.3
"""Of a segmenter at 640 pixels, as a share of that of a detector of the same width."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The embedded segmenter at 256 by 256, so that its pictures need a border."""
    return export(CHECKPOINT, SIZE, tmp_path_factory.mktemp("segmenter"), "segment")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data = shutil.copytree(DATA, tmp_path_factory.mktemp("ultralytics") / "segment") / "data.yaml"
    return ultralytics_val(CHECKPOINT, data, SIZE, "val", "segment")


def figures(out: Path, artifact: Path, spec: Path, backend: str, options: dict[str, Any]) -> dict[str, float]:
    out.mkdir()
    data = split(DATA, "val")
    paths: dict[str, Any] = {"artifact": artifact, "spec": spec, "pictures": data.pictures, "labels": data.labels}
    facts = evaluate(out, **paths, backend=backend, options=options, threads=1, settings=SETTINGS)
    return facts["metrics"]


def test_onnx_runtime_equals_ultralytics(model: SimpleNamespace, theirs: dict[str, Any], tmp_path: Path) -> None:
    ours = figures(tmp_path / "out", model.model, model.spec, "onnxruntime", {})
    assert theirs["map50_95"] > 0.4
    assert ours == pytest.approx({name: theirs[name] for name in ours}, abs=ALLOWED)


def test_openvino_equals_ultralytics(model: SimpleNamespace, theirs: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "ir"
    folder.mkdir()
    compile_ir(folder, model=model.model, spec=model.spec, half=False, separate_silu=False)
    ours = figures(tmp_path / "out", folder, folder / "spec.json", "openvino", F32)
    assert ours == pytest.approx({name: theirs[name] for name in ours}, abs=ALLOWED)


def test_masks_of_pictures_equal_ultralytics_to_the_pixel(model: SimpleNamespace, tmp_path: Path) -> None:
    """But for one pixel in a hundred thousand, where torch and the backend round the last bit otherwise."""
    pictures = []
    for number, (height, width) in enumerate([(192, 256), (480, 640), (355, 501), (97, 333), (720, 405), (256, 256)]):
        picture = cv2.imread(str(split(DATA, "val").pictures[number]))
        pictures.append(str(tmp_path / f"{number}.png"))
        cv2.imwrite(pictures[-1], cv2.resize(picture, (width, height)))
    bench = Path(__file__).resolve().parents[3] / "bench"
    run_code(PREDICT.format(bench=str(bench), checkpoint=str(CHECKPOINT), pictures=pictures, size=SIZE, out=tmp_path))
    predictor = open_artifact(model.model, model.spec, "onnxruntime", {}, 1)
    apart = pixels = objects = 0
    for number, path in enumerate(pictures):
        found = predictor.predict(path)
        expected = np.load(tmp_path / f"{number}.npz")
        assert len(found) == len(expected["boxes"])
        assert np.array_equal(found.classes, expected["boxes"][:, 5])
        assert np.abs(found.boxes - expected["boxes"][:, :4]).max(initial=0) < 0.01
        apart += int((found.masks ^ expected["masks"]).sum()) if len(found) else 0
        pixels, objects = pixels + int(found.masks.sum()), objects + len(found)
    assert objects >= 10
    assert apart <= pixels * 1e-5


def test_a_prediction_needs_little_more_memory_than_that_of_a_detector(tmp_path: Path) -> None:
    peaks = {}
    for task, weights in (("detect", SAMPLE / "parts.pt"), ("segment", CHECKPOINT)):
        (tmp_path / task).mkdir()
        exported = export(weights, 640, tmp_path / task, task)
        picture = str(split(DATA, "val").pictures[0])
        peaks[task] = int(run_code(PEAK.format(model=str(exported.model), spec=str(exported.spec), picture=picture)))
    assert peaks["segment"] <= MOST_MEMORY * peaks["detect"]
