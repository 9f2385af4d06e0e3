"""What libraries throw in the middle of a build, each provoked by a real file: one line, exit code of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from .attack import ended, recipe_text, write_data
from .hostile_checkpoints import FILE as CHECKPOINT
from .hostile_checkpoints import changed as checkpoint
from .hostile_checkpoints import text
from .hostile_onnx import FILE as MODEL
from .hostile_onnx import before, changed, constant, nested, poisoned

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Broken:
    """A file, what is built of it, and the line that it ends in."""

    make: Callable[[Path], object]
    says: str
    passes: tuple[str, ...] = ("onnx_import",)
    target: str = "x86-cpu_onnxruntime"
    code: int = 5


def node(operator: str, *more: Callable[[onnx.ModelProto], str], domain: str = "", **attributes: object):
    """A square matrix, made of the picture, through one operator, whose result is added to the picture times zero."""

    def build(model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
        if domain:
            model.opset_import.add(domain=domain, version=1)
        zero, unit = constant(model, "zero", np.float32(0)), constant(model, "unit", np.eye(4, dtype=np.float32))
        return [
            helper.make_node("ReduceMax", [name], ["largest"], keepdims=0),
            helper.make_node("Mul", [unit, "largest"], ["square"]),
            helper.make_node(operator, ["square", *(one(model) for one in more)], ["odd"], domain=domain, **attributes),
            helper.make_node("Cast", ["odd"], ["odd_float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["odd_float"], ["peak"], keepdims=0),
            helper.make_node("Mul", ["peak", zero], ["nothing"]),
            helper.make_node("Add", [name, "nothing"], ["same"]),
        ]

    return changed(before(build))


OPENVINO = "x86-cpu_openvino"
JETSON = "jetson-orin-nano_tensorrt"
FP16 = ("onnx_import", "fp16")
INT8 = ("onnx_import", "int8_static")
CHECKPOINTS = {  # what is renamed in the state of the sample's modules
    "a layer lacks what torch reads": (
        "scale_factor",
        "torch fails on 'm.pt': AttributeError: 'Upsample' object",
    ),
    "a layer lacks its weights": ("weight", "torch fails on 'm.pt': AttributeError: 'Conv2d' object has no"),
    "the model lacks its names": ("names", "'DetectionModel' object has no attribute 'names'"),
    "a layer lacks what ultralytics reads": ("f", "'Conv' object has no attribute 'f'"),
    "the head lacks what ultralytics reads": ("reg_max", "'Detect' object has no attribute 'reg_max'"),
}
BROKEN = {
    **{
        name: Broken(checkpoint((text(key), text("x" * len(key)))), says, passes=("onnx_export",))
        for name, (key, says) in CHECKPOINTS.items()
    },
    "openvino has no such operator": Broken(
        node("Det"), "the model uses what OpenVINO has no operation for: Det; choose an ONNX Runtime", target=OPENVINO
    ),
    "openvino has no such operator of microsoft": Broken(
        node("Inverse", domain="com.microsoft"), "OpenVINO has no operation for: com.microsoft.Inverse", target=OPENVINO
    ),
    "openvino has no such type": Broken(
        node("Cast", to=TensorProto.STRING), "openvino fails on the model: Unsupported operation", target=OPENVINO
    ),
    "openvino fails before nncf": Broken(node("Det"), "no operation for: Det", passes=INT8, target=OPENVINO),
    "nncf": Broken(
        changed(nested(3)),
        "nncf fails on the model: InternalError: Could not find",
        passes=INT8,
        target=OPENVINO,
    ),
    "nncf puts out no numbers": Broken(changed(poisoned(3e38)), "not finite", passes=INT8, target=OPENVINO),
    "ncnn": Broken(node("Det"), "ncnn has no layer for Det", target="raspberry-pi-5_ncnn"),
    "onnx": Broken(node("BlackmanWindow"), "'m.onnx' is no valid ONNX model"),
    "onnx runtime": Broken(node("Reshape", lambda m: constant(m, "seven", np.array([7]))), "'m.onnx'"),
}
if find_spec("tensorrt_rtx_bindings"):
    BROKEN |= {
        "the parser of tensorrt": Broken(
            node("Det"), "does not take the model: operator Det 'Det_2' is not supported", passes=FP16, target=JETSON
        ),
        "a type that the parser of tensorrt lacks": Broken(
            node("Cast", to=TensorProto.STRING), "operator Cast", passes=FP16, target=JETSON
        ),
    }


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_one_line(name: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one = BROKEN[name]
    one.make(here)
    file = CHECKPOINT if "onnx_export" in one.passes else MODEL
    data = write_data(here / "data")
    recipe = recipe_text(file, data, *one.passes, imgsz="[64, 96]").replace("x86-cpu_onnxruntime", one.target)
    recipe = recipe.replace("calibration: null", "calibration: {minimum: 1, images: 8}")
    (here / "r.yaml").write_text(recipe)
    built = ended(capfd, 120, "build", "r.yaml", "--quiet")
    assert built.code == one.code, built
    assert one.says in built.lines[0]


@pytest.mark.parametrize("target", [OPENVINO, "x86-cpu_onnxruntime"])
def test_control_graphs_within_operators_are_built(here: Path, capfd: pytest.CaptureFixture[str], target: str) -> None:
    changed(nested(3))(here)
    recipe = recipe_text(MODEL, write_data(here / "data"), "onnx_import", imgsz="[64, 96]")
    (here / "r.yaml").write_text(recipe.replace("x86-cpu_onnxruntime", target))
    assert ended(capfd, 120, "build", "r.yaml", "--quiet").code == 0
