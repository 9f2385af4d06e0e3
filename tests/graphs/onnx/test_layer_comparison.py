"""Which layer of a graph leaves the float model first."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.layer_comparison import layer_distances
from edgecompile.layer_diagnosis import LEAVES, judge_layers, layers_line

LAYERS = 4
PICTURE = np.random.default_rng(1).random((1, 3, 16, 16), dtype=np.float32)


def net(spoiled: int | None = None, value: float = -3.0, names: str = "layer") -> onnx.ModelProto:
    """Returns convolutions one behind another; the weights of one are multiplied by `value`."""
    chance = np.random.default_rng(0)
    nodes, weights, before = [], [], "images"
    for number in range(LAYERS):
        weight = chance.normal(0, 0.3, (8, 8 if number else 3, 3, 3)).astype(np.float32)
        weight *= value if number == spoiled else 1
        weights.append(numpy_helper.from_array(weight, f"weight{number}"))
        nodes.append(helper.make_node("Conv", [before, f"weight{number}"], [f"{names}{number}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"{names}{number}"], [f"relu{number}"]))
        before = f"relu{number}"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info(before, TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def left(artifact: onnx.ModelProto) -> list[str]:
    return [one.layer for one in layer_distances(artifact, net(), PICTURE, PICTURE) if one.error > LEAVES]


@pytest.mark.parametrize("spoiled", range(LAYERS))
def test_the_first_layer_that_leaves_is_the_spoiled_one(spoiled: int):
    assert left(net(spoiled))[0] == f"layer{spoiled}"


def test_equal_and_nearly_equal_layers_do_not_leave():
    assert left(net()) == []
    assert left(net(1, value=1.1)) == []


def test_what_was_compared_is_told_where_nothing_left():
    sound, spoiled = (layer_distances(one, net(), PICTURE, PICTURE) for one in (net(1, value=1.1), net(2)))
    assert layers_line(sound).startswith("4 layers compared with the float model; layer1 is the furthest")
    assert judge_layers(sound) == []
    assert "layer2" in judge_layers(spoiled)[0].evidence


def test_numbers_that_are_not_finite_have_left():
    assert left(net(2, value=float("inf")))[0] == "layer2"


def test_graphs_without_a_layer_in_common_are_refused():
    with pytest.raises(StepError, match="no layer of the same name"):
        layer_distances(net(names="other"), net(), PICTURE, PICTURE)


def test_error_is_told_from_what_entered_before():
    """Behind the spoiled layer the error stays, but hardly grows: it entered there."""
    found = layer_distances(net(1, value=1.5), net(), PICTURE, PICTURE)
    assert found[0].error == found[0].before == 0
    assert [one.before for one in found[1:]] == [one.error for one in found[:-1]]
    assert max(found, key=lambda one: one.entered).layer == "layer1"
