"""Where a recipe names no picture size, it is that of the weights: `plan` says so, and a lock writes it out."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgecompile.build import resolved
from edgecompile.compose.composition import compose
from edgecompile.errors import RecipeError
from edgecompile.places import sample_folder
from edgecompile.plan.resolve import resolve
from edgecompile.recipe.materials import find_materials
from edgecompile.recipe.training_size import training_size

PARTS = sample_folder() / "parts.pt"


class Model:
    """Stands for a network in a checkpoint that is only described."""


def checkpoint(path: Path, **train_args: Any) -> Path:
    """Writes a file that says what a checkpoint says of its training, and holds no network."""
    content = pickle.dumps({"model": Model(), "train_args": train_args}, 2)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return path


def onnx_file(path: Path, *shape: int | str, **metadata: str) -> Path:
    entry = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph([helper.make_node("Relu", ["images"], ["output"])], "g", [entry], [output])
    )
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


SAID = {
    "a number": ({"imgsz": 320}, (320, 320), "which 'w.pt' was trained at"),
    "one in a list": ({"imgsz": [416]}, (416, 416), "trained at"),
    "height and width": ({"imgsz": [192, 256]}, (192, 256), "model.imgsz is [192, 256]"),
    "text": ({"imgsz": "480"}, (480, 480), "trained at"),
    "no multiple of 32": ({"imgsz": 300}, (320, 320), "rounded up from 300 to a multiple of 32"),
    "nothing": ({"epochs": 3}, (640, 640), "'w.pt' states no size, nor does the recipe"),
}


@pytest.mark.parametrize(("train_args", "size", "note"), SAID.values(), ids=SAID)
def test_checkpoints(tmp_path: Path, train_args: dict[str, Any], size: tuple[int, int], note: str):
    found = training_size(checkpoint(tmp_path / "w.pt", **train_args), "x", "detect")
    assert found.imgsz == size
    assert note in found.note


FILES = {
    "a fixed input": ((1, 3, 192, 256), {}, (192, 256), "model.imgsz is [192, 256], which 'm.onnx' takes"),
    "channels last": ((1, 192, 256, 3), {}, (192, 256), "takes"),
    "one channel": ((1, 1, 64, 64), {}, (64, 64), "takes"),
    "a fixed input, whatever is noted": ((1, 3, 64, 64), {"imgsz": "[640, 640]"}, (64, 64), "takes"),
    "open axes": (("n", 3, "h", "w"), {"imgsz": "[416, 416]"}, (416, 416), "model.imgsz is 416, which 'm.onnx' states"),
    "open axes, nothing noted": (("n", 3, "h", "w"), {}, (640, 640), "states no size"),
}


@pytest.mark.parametrize(("shape", "metadata", "size", "note"), FILES.values(), ids=FILES)
def test_onnx_files(tmp_path: Path, shape, metadata, size, note):
    found = training_size(onnx_file(tmp_path / "m.onnx", *shape, **metadata), "x", "detect")
    assert found.imgsz == size
    assert note in found.note


def wrong(path: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        training_size(path, "my.yaml:2:model.weights", "detect")
    (problem,) = caught.value.problems
    return str(problem)


def test_what_does_not_tell(tmp_path: Path):
    (tmp_path / "no.pt").write_text("no checkpoint")
    (tmp_path / "no.onnx").write_text("no model")
    assert wrong(tmp_path / "no.pt") == (
        "my.yaml:2:model.weights: 'no.pt' does not read as a checkpoint of Ultralytics, so its picture size is not "
        "known; check the file, or set model.imgsz"
    )
    assert "'no.onnx' does not read as an ONNX file" in wrong(tmp_path / "no.onnx")
    for odd in ("__import__('os')", -32, True, [1, 2, 3], 1e9, {"a": 1}, "9" * 5000):
        assert "does not read as" in wrong(checkpoint(tmp_path / "odd.pt", imgsz=odd))


def test_sizes_that_cannot_be_compiled(tmp_path: Path):
    assert "'m.onnx' takes pictures of 5000x300" in wrong(onnx_file(tmp_path / "m.onnx", 1, 3, 5000, 300))
    assert training_size(onnx_file(tmp_path / "m.onnx", 1, 3, 300, 300), "x", "detect").imgsz == (300, 300)
    assert "takes pictures of 999968x999968" in wrong(checkpoint(tmp_path / "w.pt", imgsz=999_968))


@pytest.mark.slow
def test_a_recipe_without_a_size_takes_that_of_its_weights(here: Path, run):
    """The control: one that names a size keeps it, and the weights are not asked."""
    shutil.copy(PARTS, here / "own.pt")
    (here / "my.yaml").write_text(
        "defaults: [x86-cpu_onnxruntime_fp32, override /data: sample, _self_]\nmodel: {weights: own.pt}\n"
    )
    recipe = compose("my.yaml")
    materials = find_materials(recipe)
    assert recipe.model.imgsz is None
    assert materials.imgsz == (256, 256)
    assert materials.notes[0] == "model.imgsz is 256, which 'own.pt' was trained at"
    assert resolve(recipe, materials)["onnx_export"].params["imgsz"] == [256, 256]
    assert "note: model.imgsz is 256, which 'own.pt' was trained at" in run("plan", "my.yaml").out
    stated = compose("my.yaml", "model.imgsz=128")
    assert find_materials(stated).imgsz is None
    assert resolve(stated, find_materials(stated))["onnx_export"].params["imgsz"] == [128, 128]


@pytest.mark.slow
def test_a_lock_writes_the_size_out(here: Path):
    named, left_out = resolved(compose("model.imgsz=256")), resolved(compose())
    assert left_out.recipe["model"]["imgsz"] == named.recipe["model"]["imgsz"] == 256
    assert left_out.steps == named.steps


def test_the_usual_size_of_a_profile_comes_first(here: Path):
    recipe = compose("model.dynamic={imgsz: [128, 192, 256]}")
    assert recipe.model.imgsz == 192
    assert find_materials(recipe).imgsz is None


@pytest.mark.slow
def test_points_of_a_sweep_with_and_without_a_size(run, here: Path):
    ran = run("plan", "-m", "--json", "model.imgsz=null,128")
    assert ran.code == 0
    sizes = [step["params"]["imgsz"] for step in json.loads(ran.out)["steps"] if "imgsz" in step["params"]]
    assert sizes == [[256, 256], [128, 128]]
