"""The decode part of an OpenVINO model is that of the ONNX graph it was made from."""

from __future__ import annotations

import pytest
from exported import run_code, simplified

pytest.importorskip("openvino")

from edgecompile.graphs.openvino import import_openvino
from edgecompile.graphs.openvino.ir_structure import decode, is_bias, is_learned


@pytest.fixture(scope="module")
def model():
    return import_openvino().convert_model(simplified().model)


@pytest.mark.slow
def test_learned_layers_are_those_of_the_onnx_graph(model):
    onnx = pytest.importorskip("onnx")
    from edgecompile.graphs.onnx.structure import Structure

    structure = Structure(onnx.load(simplified().model))
    expected = [node.name for node in structure.nodes if structure.is_learned(node)]
    assert sum(map(is_learned, model.get_ordered_ops())) == len(expected) == 87


def test_decode_part_ends_at_the_biases_of_the_last_convolutions(model):
    inside = set(decode(model))
    operations = {one.get_friendly_name(): one for one in model.get_ordered_ops()}
    kinds = [operations[name].get_type_name() for name in inside]
    assert kinds.count("Softmax") == kinds.count("Sigmoid") == kinds.count("Convolution") == 1
    borders = {
        value.get_node().get_friendly_name()
        for name in inside
        for value in operations[name].input_values()
        if value.get_node().get_friendly_name() not in inside and value.get_node().get_type_name() != "Constant"
    }
    assert len(borders) == 6
    assert all(is_bias(operations[name]) for name in borders)


@pytest.mark.slow
def test_usage_is_not_reported():
    """Both tools send statistics where they find the package for it; here neither finds it."""
    pytest.importorskip("nncf")
    code = """
from edgecompile.graphs.openvino import import_openvino
import_openvino()
import sys, nncf, openvino.tools.ovc
print(sorted(name for name in sys.modules if name.startswith("openvino_telemetry") and sys.modules[name]))
"""
    assert run_code(code) == "[]"
