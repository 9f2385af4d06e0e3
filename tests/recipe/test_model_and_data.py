"""What a model and a data set have not in common is told by `plan`, as far as headers show it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from exported import exported

from edgecompile.compose.composition import compose
from edgecompile.errors import RecipeError
from edgecompile.places import sample_folder
from edgecompile.recipe.materials import find_materials
from edgecompile.recipe.model_and_data import channels_of
from edgecompile.weights.onnx_header import OnnxHeader, OnnxInput
from edgecompile.weights.stated_task import stated_channels

onnx = pytest.importorskip("onnx")

SAMPLE = sample_folder()


def problems(*words: str) -> list[str]:
    try:
        find_materials(compose(*words))
    except RecipeError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize("known", [True, False])
def test_a_classifier_that_knows_no_class_of_the_data(known: bool, here: Path) -> None:
    names = {"bolt": "bolt", "nut": "nut"} if known else {"bolt": "cat", "nut": "dog"}
    for split in ("train", "val"):
        for number, name in enumerate(names.values()):
            (here / "data" / split / name).mkdir(parents=True)
            for index in range(8):
                picture = np.full((32, 32, 3), 20 * number + index + (100 if split == "val" else 0), np.uint8)
                cv2.imwrite(str(here / "data" / split / name / f"{index}.png"), picture)
    words = ["quickstart_classify", "data.path=data", "data.calibration.minimum=8", "data.validation.split=val"]
    told = problems(*words)
    if known:
        assert told == []
    else:
        assert len(told) == 1
        assert "the model knows no class of the data set ('cat', 'dog'), but '" in told[0]
        assert told[0].endswith("name the data set that the model was trained for")


def test_pictures_without_alpha_for_a_model_of_four_channels(here: Path) -> None:
    model = onnx.load(exported().model)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(model, here / "four.onnx")
    for split, alpha in (("opaque", False), ("alpha", True)):
        for kind in ("images", "labels"):
            shutil.copytree(SAMPLE / kind / "test", here / split / kind / "test")
        for path in (here / split / "images/test").glob("*.jpg"):
            image = cv2.imread(str(path))
            cv2.imwrite(str(path.with_suffix(".png")), cv2.cvtColor(image, cv2.COLOR_BGR2BGRA) if alpha else image)
            path.unlink()
        (here / f"{split}.yaml").write_text(f"path: {split}\ntest: images/test\nnames: [bolt, nut, washer]\n")
    (here / "my.yaml").write_text(
        "defaults: [{/pass@passes: [onnx_import]}, {override /target: x86-cpu_onnxruntime}, _self_]\n"
        "model: {weights: four.onnx}\ndata: {path: alpha.yaml, validation: {split: test}}\n"
    )
    assert problems("my.yaml") == []
    (told,) = problems("my.yaml", "data.path=opaque.yaml")
    assert "test_0000.png: the picture has 3 channels, 'four.onnx' takes 4; give pictures an alpha channel" in told


@pytest.mark.parametrize(
    ("suffix", "image", "channels"),
    [
        (".jpg", np.zeros((8, 8, 3), np.uint8), 3),
        (".png", np.zeros((8, 8, 3), np.uint8), 3),
        (".png", np.zeros((8, 8), np.uint8), 1),
        (".png", np.zeros((8, 8, 4), np.uint8), None),
        (".bmp", np.zeros((8, 8, 3), np.uint8), None),
    ],
)
def test_channels_are_read_off_the_header(suffix: str, image: Any, channels: int | None) -> None:
    content = cv2.imencode(suffix, image)[1].tobytes()
    assert channels_of(content[:26]) == channels
    assert channels_of(content[:2]) is None


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((1, 3, 64, 64), 3), ((1, 64, 64, 4), 4), ((None, 1, None, None), 1), ((1, None, 64, 64), None)],
)
def test_channels_of_an_onnx_file(shape: Any, channels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    header = OnnxHeader(inputs=(OnnxInput("images", 1, shape), OnnxInput("sizes", 7, (1, 2))))
    monkeypatch.setattr("edgecompile.weights.stated_task.read_header", lambda _: header)
    assert stated_channels(Path("a.onnx")) == channels
