"""What libraries really throw, each raised here by the library itself, as one line with a fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import foreign_models
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgecompile.errors import StepError
from edgecompile.library_errors import LONGEST, explain, library_of, reason


def thrown(call: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever the library throws
        call()
    return raised.value


def told(error: BaseException) -> str:
    said = str(explain(error, "'a.onnx'"))
    assert "\n" not in said
    assert len(said) < LONGEST + 150
    return said


def run_with(*nodes: onnx.NodeProto, version: int = 18, ir: int = 8) -> Callable[[], object]:
    """Returns what opens the sample with further nodes; nothing is exported before it is called."""

    def call() -> object:
        import onnxruntime

        model = foreign_models.before(foreign_models.sample(), lambda name: list(nodes))
        model.opset_import[0].version, model.ir_version = version, ir
        foreign_models.constant(model, "seven", np.array([7, 7]))
        model.opset_import.add(domain="custom", version=1)
        return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    return call


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            run_with(helper.make_node("BitShift", ["images", "images"], ["x"], direction="LEFT")),
            "BitShift",
        ),
        (run_with(helper.make_node("NoSuch", ["images"], ["x"])), "'a.onnx' uses 'NoSuch', "),
        (
            run_with(helper.make_node("Own", ["images"], ["x"], domain="custom")),
            "'a.onnx' uses 'custom:Own', an operator of a plugin that is not here; export the model again without",
        ),
        (run_with(helper.make_node("Identity", ["images"], ["x"]), version=99), "operator set 99"),
        (
            run_with(helper.make_node("Identity", ["images"], ["x"]), ir=99),
            "is of IR version 99; ONNX Runtime reads up",
        ),
        (run_with(helper.make_node("Reshape", ["images", "seven"], ["x"])), "'a.onnx'"),
        (run_with(helper.make_node("Identity", ["nowhere"], ["x"])), "onnxruntime fails on 'a.onnx': "),
    ],
    ids=["type", "operator", "plugin", "operator set", "IR version", "shape", "nowhere"],
)
def test_onnx_runtime(call: Callable[[], object], said: str) -> None:
    line = told(thrown(call))
    assert said in line
    assert "onnxruntime/core" not in line
    assert "[ONNXRuntimeError]" not in line


def test_onnxslim() -> None:
    import onnxslim

    line = told(thrown(lambda: onnxslim.slim(b"no model")))
    assert "onnxslim fails on 'a.onnx': " in line
    assert "leave the pass out: passes.simplify=null" in line


@pytest.mark.slow
def test_openvino(tmp_path: Path) -> None:
    from edgecompile.graphs.openvino import import_openvino

    openvino = import_openvino()
    model = foreign_models.before(
        foreign_models.sample(), lambda name: [helper.make_node("Own", [name], ["x"], domain="custom")]
    )
    model.opset_import.add(domain="custom", version=1)
    path = foreign_models.written(model, tmp_path / "a.onnx")
    line = told(thrown(lambda: openvino.convert_model(path)))
    assert line == "'a.onnx' uses what OpenVINO has no operation for: custom.Own; choose an ONNX Runtime target"
    reshape = foreign_models.sample()
    shape = foreign_models.constant(reshape, "shape", np.array([7, 7]))
    foreign_models.before(reshape, lambda name: [helper.make_node("Reshape", [name, shape], ["x"])])
    foreign_models.written(reshape, path)
    line = told(thrown(lambda: openvino.convert_model(path)))
    assert "openvino fails on 'a.onnx': The input data tensor's rank has to be known (static)" in line


def test_onnx() -> None:
    broken = helper.make_model(helper.make_graph([helper.make_node("Conv", ["x"], ["y"])], "g", [], []))
    line = told(thrown(lambda: onnx.checker.check_model(broken)))
    assert "onnx fails on 'a.onnx': ValidationError: " in line


def test_other_errors_keep_their_name_and_get_no_fix_of_a_library() -> None:
    error = thrown(lambda: {}["missing"])
    assert library_of(error) == ""
    assert reason(error) == "KeyError: 'missing'"
    assert str(explain(error, "'a'")) == "'a': KeyError: 'missing'"
    assert reason(StepError("what it is")) == "StepError: what it is"
    assert reason(ValueError()) == "ValueError"
    assert TensorProto.FLOAT == 1  # as the layouts name it
