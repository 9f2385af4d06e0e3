"""ONNX files of other tasks: classifiers with and without their softmax, and Ultralytics' own exports of the rest."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from exported import SAMPLE, pictures, run_step
from needed import needs
from onnx import TensorProto, helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.agreement import fixed_input
from edgecompile.graphs.onnx.agreement import run as run_model
from edgecompile.passes.onnx_import import OnnxImport, import_model

needs("ultralytics")
pytestmark = pytest.mark.slow

CHECKPOINTS = {"classify": ("parts-cls.pt", [64, 64]), "segment": ("parts-seg.pt", [192, 256])}


@cache
def made(task: str) -> SimpleNamespace:
    """Returns the sample of a task, exported: `model`, `spec`, `size`."""
    name, size = CHECKPOINTS[task]
    if not (SAMPLE / name).is_file():
        pytest.skip(f"the sample has no {name}")
    folder = Path(mkdtemp(prefix="edgecompile-tests-"))
    fields = {"imgsz": size, "opset": 18, "end2end": False if task != "classify" else "auto", "task": task}
    run_step(folder, "edgecompile.passes.onnx_export:export", {"weights": SAMPLE / name}, fields)
    return SimpleNamespace(model=folder / "model.onnx", spec=folder / "spec.json", size=size)


def imported(folder: Path, model: onnx.ModelProto, task: str, **stated: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    weights = folder / "given.onnx"
    weights.write_bytes(model.SerializeToString())
    entry, outputs = OnnxImport(**stated).statement()
    (folder / "out").mkdir(exist_ok=True)
    names = json.loads(made(task).spec.read_text())["names"]
    facts = import_model(
        folder / "out", weights=weights, pictures=pictures("val", 2), imgsz=made(task).size, names=names, task=task,
        entry=entry.stated(), outputs=outputs.stated(),
    )  # fmt: skip
    return facts, json.loads((folder / "out" / "spec.json").read_text())


def logits() -> onnx.ModelProto:
    model = onnx.load(made("classify").model)
    name = model.graph.output[0].name
    model.graph.node.append(helper.make_node("Log", [name], ["logits"]))
    shape = [axis.dim_value for axis in model.graph.output[0].type.tensor_type.shape.dim]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape))
    return model


@pytest.mark.parametrize(("build", "layout"), [(None, "class_probabilities"), (logits, "class_logits")])
def test_a_classifier(build: Any, layout: str, tmp_path: Path) -> None:
    facts, spec = imported(tmp_path, build() if build else onnx.load(made("classify").model), "classify")
    exported = json.loads(made("classify").spec.read_text())
    assert (facts["layout"], facts["decode"]) == (layout, "probabilities")
    assert {key: spec[key] for key in ("letterbox", "top", "names")} == {
        key: exported[key] for key in ("letterbox", "top", "names")
    }
    picture = fixed_input([1, 3, *made("classify").size], made("classify").size)
    ours, theirs = (
        run_model(path.read_bytes(), picture)[0] for path in (tmp_path / "out" / "model.onnx", made("classify").model)
    )
    assert np.abs(ours - theirs).max() < 1e-5


def test_a_classifier_of_torchvision(tmp_path: Path) -> None:
    _, spec = imported(tmp_path, logits(), "classify", family="torchvision")
    assert (spec["letterbox"]["resize"], spec["letterbox"]["shortest"]) == ("crop", 256)
    assert (spec["input"]["mean"], spec["input"]["scale"]) == ([0, 0, 0], 1 / 255)
    assert "Sub" in {node.op_type for node in onnx.load(tmp_path / "out" / "model.onnx").graph.node}


def test_a_wrong_layout_of_a_classifier_is_told(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="it is not class_logits: its numbers are probabilities already"):
        imported(tmp_path, onnx.load(made("classify").model), "classify", outputs={"layout": "class_logits"})
    with pytest.raises(StepError, match="it is not class_probabilities: its scores range from -"):
        imported(tmp_path, logits(), "classify", outputs={"layout": "class_probabilities"})


def test_an_export_of_another_task_is_taken_as_it_is(tmp_path: Path) -> None:
    facts, spec = imported(tmp_path, onnx.load(made("segment").model), "segment")
    assert spec == json.loads(made("segment").spec.read_text())
    assert facts["layout"] == "yolo"
    with pytest.raises(StepError, match=r"states layouts of detectors and classifiers, not of 'segment'"):
        imported(tmp_path, onnx.load(made("segment").model), "segment", family="yolox")
