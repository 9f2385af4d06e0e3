"""A model that does not end is ended, and what ONNX Runtime says of one becomes a line."""

from __future__ import annotations

import time

import foreign_models
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.agreement import fixed_input
from edgecompile.graphs.onnx.bounded_run import bounded_run
from edgecompile.plan.step import TIMEOUT

PICTURE = fixed_input(foreign_models.SHAPE, foreign_models.SHAPE[2:])


def endless(trips: int = 2**62) -> onnx.ModelProto:
    """The sample with a loop in front that hands on the picture."""
    model = foreign_models.sample()
    value, flag = (
        helper.make_tensor_value_info(n, k, None) for n, k in (("v", TensorProto.FLOAT), ("c", TensorProto.BOOL))
    )
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node("Identity", ["v"], ["v_out"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), flag, value],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, None),
        ],
    )
    inputs = [foreign_models.constant(model, "trips", np.int64(trips)), foreign_models.constant(model, "go", True)]
    return foreign_models.before(model, lambda name: [helper.make_node("Loop", [*inputs, name], ["looped"], body=body)])


@pytest.mark.slow
def test_an_endless_loop_is_ended() -> None:
    run = bounded_run(endless().SerializeToString(), "a.onnx", seconds=0.5)
    began = time.monotonic()
    said = r"'a\.onnx' did not end within 0\.5 s on one picture; allow it more: --step-timeout 5, or EDGECOMPILE_STEP"
    with pytest.raises(StepError, match=said):
        run(PICTURE)
    assert time.monotonic() - began < 5


def test_a_loop_with_an_end_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = bounded_run(endless(trips=3).SerializeToString(), "a.onnx", seconds=30)
    (wanted,) = bounded_run(foreign_models.sample().SerializeToString(), "b.onnx")(PICTURE)
    assert np.array_equal(run(PICTURE)[0], wanted)
    monkeypatch.setenv(TIMEOUT, "600")  # the limit of the step rules
    bounded_run(endless(trips=3).SerializeToString(), "a.onnx", seconds=0)(PICTURE)


def test_what_cannot_be_opened_or_run_is_one_line() -> None:
    plugin = foreign_models.before(
        foreign_models.sample(), lambda name: [helper.make_node("EfficientNMS_TRT", [name], ["x"], domain="trt")]
    )
    plugin.opset_import.add(domain="trt", version=1)
    with pytest.raises(
        StepError, match=r"^'a\.onnx' uses '.*EfficientNMS_TRT', an operator of a plugin.*without plugins$"
    ):
        bounded_run(plugin.SerializeToString(), "a.onnx")
    reshape = foreign_models.sample()
    shape = foreign_models.constant(reshape, "shape", np.array([7, 7]))
    foreign_models.before(reshape, lambda name: [helper.make_node("Reshape", [name, shape], ["x"])])
    with pytest.raises(StepError, match=r"^'a\.onnx' |fails on 'a\.onnx'") as raised:
        bounded_run(reshape.SerializeToString(), "a.onnx")(PICTURE)
    print(raised.value)
    assert "\n" not in str(raised.value)


def test_an_output_of_no_numbers_is_told() -> None:
    model = foreign_models.behind(lambda add: add("Cast", "output0", to=TensorProto.STRING))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    with pytest.raises(StepError, match=r"the output 'added_1_0' of 'a\.onnx' holds text, expected numbers"):
        bounded_run(model.SerializeToString(), "a.onnx")(PICTURE)
