"""Whole builds of models that once shipped under a precision they did not have, or that no device could compute."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from exported import exported, simplified
from program import edgecompile
from rough_measurement import ROUGH

from edgecompile.runtime.archive import Archive

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

RECIPE = """# @package _global_
defaults:
  - /pass@passes: [onnx_import, {precision}]
  - override /target: {target}
  - override /model: sample
  - override /data: sample
model: {{imgsz: [192, 256]}}
"""

pytestmark = pytest.mark.slow


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv" and len(node.input) == 3]


def behind_identities() -> onnx.ModelProto:
    model = onnx.load(exported().model)
    for node in convolutions(model):
        name = node.input[1]
        model.graph.node.insert(0, helper.make_node("Identity", [name], [f"{name}_same"]))
        node.input[1] = f"{name}_same"
    return model


def beyond_fp16() -> onnx.ModelProto:
    """The sample, simplified so that all targets can run it, with a product by 20,000 and another that undoes it: equal
    in float."""
    model = onnx.load(simplified().model)
    node = convolutions(model)[20]
    place = list(model.graph.node).index(node)
    for name, factor, before, after in (("up", 2e4, node.input[0], "large"), ("down", 5e-5, "large", "back")):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(factor), f"{name}_by"))
        model.graph.node.insert(place, helper.make_node("Mul", [before, f"{name}_by"], [after], name=name))
        place += 1
    node.input[0] = "back"
    return model


def build(shared: Path, folder: Path, model: onnx.ModelProto, target: str, precision: str, *words: str):
    onnx.save(model, folder / "model.onnx")
    (folder / "case.yaml").write_text(RECIPE.format(target=target, precision=precision))
    command = ("build", "case.yaml", "model.weights=model.onnx", "--quiet", *ROUGH, *words)
    return edgecompile(folder, *command, EDGECOMPILE_CACHE=str(shared / "cache"))


def coverage(folder: Path, done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    with Archive(folder / done.stdout.splitlines()[-1]) as archive:
        return archive.manifest["figures"]["coverage"]


def test_weights_behind_identities_are_quantized(shared, tmp_path):
    done = build(shared, tmp_path, behind_identities(), "x86-cpu_onnxruntime", "int8_static")
    found = coverage(tmp_path, done)
    assert found["by_precision"] == {"int8": {"layers": found["layers"], "macs": found["macs"]}}
    report = json.loads(next(tmp_path.rglob("report.json")).read_text())
    assert report["figures"]["coverage"] == found
    assert "in int8" in done.stderr
    assert f"{found['layers']} of {found['layers']} layers with weights" in done.stderr


@pytest.mark.parametrize(("target", "gone"), [("x86-cpu_onnxruntime", 5), ("jetson-orin-nano_tensorrt", 5)])
def test_int8_without_a_layer_in_int8_is_no_bundle(shared, tmp_path, target, gone):
    model = onnx.load(exported().model)
    done = build(shared, tmp_path, model, target, "int8_static", "passes.int8_static.exclude=[auto,'*']")
    assert done.returncode == gone
    (line,) = done.stderr.splitlines()
    assert "nothing was quantized: 0 of 87 layers with weights are in int8" in line
    assert "passes.int8_static.exclude" in line
    assert not list(tmp_path.rglob("*.zip"))


def test_a_small_part_in_int8_is_remarked_upon(shared, tmp_path):
    model = onnx.load(exported().model)
    exclude = "passes.int8_static.exclude=[auto,'/model.[0-9]/*','/model.1*/*','/model.23/cv2*']"
    done = build(shared, tmp_path, model, "x86-cpu_onnxruntime", "int8_static", exclude)
    assert 0 < coverage(tmp_path, done)["by_precision"]["int8"]["layers"] < 60
    assert "of the operations of layers with weights are in int8" in done.stderr


@pytest.mark.parametrize(
    ("target", "precision"),
    [("intel-npu_openvino", "fp16"), ("intel-igpu_openvino", "int8_static"), ("atlas-200i-dk_cann", "fp16"),
     ("raspberry-pi_ncs2", "fp16")],
)  # fmt: skip
def test_what_fp16_does_not_hold_is_refused_where_a_device_knows_nothing_else(shared, tmp_path, target, precision):
    done = build(shared, tmp_path, beyond_fp16(), target, precision)
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()
    assert "numbers beyond FP16" in line
    assert "up (" in line


def test_what_fp16_does_not_hold_stays_in_float_where_the_device_can(shared, tmp_path):
    done = build(shared, tmp_path, beyond_fp16(), "jetson-orin-nano_tensorrt", "fp16")
    assert coverage(tmp_path, done)["by_precision"]["fp16"]["layers"] > 80
    assert "left in float, in 1 layer on the validation pictures: up (" in done.stderr
    report = json.loads(next(tmp_path.rglob("report.json")).read_text())
    assert abs(report["figures"]["map_drop"]) < 0.01
