"""Old operator sets are raised, and what cannot be raised is refused with the way out."""

from __future__ import annotations

import foreign_models
import numpy as np
import onnx
import pytest
from onnx import helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.agreement import fixed_input, run
from edgecompile.graphs.onnx.operator_set import operator_set, raise_operator_set
from edgecompile.graphs.onnx.picture_input import only_input


def test_an_old_model_is_raised_and_computes_the_same() -> None:
    model = foreign_models.in_operator_set_11()
    only_input(model, {}, foreign_models.SHAPE[2:])
    raised = raise_operator_set(model, "a.onnx")
    assert (operator_set(model), operator_set(raised)) == (11, 18)
    picture = fixed_input(foreign_models.SHAPE, foreign_models.SHAPE[2:])
    assert np.allclose(
        run(model.SerializeToString(), picture)[0], run(raised.SerializeToString(), picture)[0], atol=1e-3
    )


@pytest.mark.parametrize("version", [13, 18])
def test_a_newer_one_is_left_as_it_is(version: int) -> None:
    model = foreign_models.sample()
    model.opset_import[0].version = version
    assert raise_operator_set(model, "a.onnx") is model


@pytest.mark.parametrize("version", [0, 1, 6, 99])
def test_what_cannot_be_read_is_told_with_the_way_out(version: int) -> None:
    model = foreign_models.sample()
    model.opset_import[0].version = version
    said = f"'a.onnx' uses operator set {version}; 7 to {onnx.defs.onnx_opset_version()} can be read; export the model"
    with pytest.raises(StepError, match=said):
        raise_operator_set(model, "a.onnx")


def test_what_the_converter_refuses_is_one_line() -> None:
    model = foreign_models.in_operator_set_11()
    picture = model.graph.input[0]
    nodes = [helper.make_node("Upsample", ["images", "scales"], ["larger"])]  # gone since operator set 10
    model.graph.node.insert(0, nodes[0])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(4, np.float32), "scales"))
    with pytest.raises(
        StepError, match=r"'a\.onnx' uses operator set 11, and it cannot be raised: .+; export the model"
    ):
        raise_operator_set(model, "a.onnx")
    assert picture.name == "images"
