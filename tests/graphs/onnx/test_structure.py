"""The decode part of graphs that are no YOLO, and of one whose names say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from exported import simplified

onnx = pytest.importorskip("onnx")

from onnx import helper, numpy_helper  # noqa: E402

from edgecompile.graphs.onnx.structure import Structure, name_nodes, parameter_shares  # noqa: E402


def model_of(nodes, weights, output="y"):
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    info = [helper.make_tensor_value_info("x", 1, None), helper.make_tensor_value_info(output, 1, None)]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def kinds(model):
    return [node.op_type for node in Structure(model).decode()]


W = np.ones((4, 4, 1, 1), np.float32)


def test_sample_is_cut_at_its_six_last_convolutions():
    structure = Structure(onnx.load(simplified().model))
    decode = structure.decode()
    names = {node.output[0] for node in decode}
    read = {name for node in decode for name in structure.inputs(node)} - names
    assert len(read) == 6
    assert all(structure.producer[name].op_type == "Conv" for name in read)
    assert [node.op_type for node in decode].count("Conv") == 1, "the mean of the distributions"


def test_names_do_not_matter():
    model = onnx.load(simplified().model)
    before = [node.output[0] for node in Structure(model).decode()]
    for node in model.graph.node:
        node.name = ""
    assert [node.output[0] for node in Structure(model).decode()] == before


def test_a_net_that_ends_in_a_convolution_has_no_decode_part():
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Conv", ["a", "w"], ["y"])]
    assert kinds(model_of(nodes, {"w": W})) == []


def test_a_classifier_leaves_its_softmax_out():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "v"], ["d"]),
        helper.make_node("Softmax", ["d"], ["y"]),
    ]
    assert kinds(model_of(nodes, {"w": W, "v": np.ones((4, 2), np.float32)})) == ["Softmax"]


def test_attention_is_no_mean_of_a_distribution():
    """Softmax times values is two activations; softmax times constants is the mean of fixed bins."""
    head = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Softmax", ["a"], ["p"])]
    attention = [*head, helper.make_node("MatMul", ["p", "a"], ["b"]), helper.make_node("Conv", ["b", "w"], ["y"])]
    assert kinds(model_of(attention, {"w": W})) == []
    mean = [*head, helper.make_node("Transpose", ["p"], ["q"]), helper.make_node("Conv", ["q", "bins"], ["y"])]
    assert kinds(model_of(mean, {"w": W, "bins": W})) == ["Softmax", "Transpose", "Conv"]


def test_weights_may_be_nodes():
    value = numpy_helper.from_array(W)
    nodes = [helper.make_node("Constant", [], ["w"], value=value), helper.make_node("Conv", ["x", "w"], ["a"])]
    model = model_of([*nodes, helper.make_node("Sigmoid", ["a"], ["y"])], {})
    assert kinds(model) == ["Sigmoid"]
    assert parameter_shares(Structure(model)) == {"Conv": 16}


def test_quantized_graphs_are_known():
    model = model_of([helper.make_node("QuantizeLinear", ["x", "s"], ["y"])], {"s": np.float32(1)})
    assert Structure(model).is_quantized()
    assert not Structure(onnx.load(simplified().model)).is_quantized()


def test_nameless_and_equal_nodes_get_names_of_their_own():
    nodes = [helper.make_node("Relu", ["x"], ["a"], name="n"), helper.make_node("Relu", ["a"], ["y"], name="n")]
    model = model_of([*nodes, helper.make_node("Relu", ["y"], ["z"])], {})
    name_nodes(model.graph.node)
    assert [node.name for node in model.graph.node] == ["n", "Relu_1", "Relu_2"]
