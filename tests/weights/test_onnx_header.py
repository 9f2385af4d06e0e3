"""What an ONNX file says of itself is read without parsing it, however hostile it is."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import foreign_models
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecompile.weights import onnx_header
from edgecompile.weights.onnx_header import OnnxInput, read_header


def graph_of(*shape: int | str, weights: int = 4, listed: bool = False) -> onnx.ModelProto:
    """Returns a model of one input and weights, which old operator sets list among the inputs."""
    tensor = numpy_helper.from_array(np.zeros(weights, np.float32), "weights")
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)]
    if listed:
        inputs.insert(0, helper.make_tensor_value_info("weights", TensorProto.FLOAT, [weights]))
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    node = helper.make_node("Identity", ["images"], ["output"])
    graph = helper.make_graph([node], "g", inputs, [output], [tensor])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.x", 2)])


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def test_inputs_metadata_and_operator_sets(tmp_path: Path):
    model = graph_of(1, 3, 192, 256, listed=True)
    helper.set_model_props(model, {"imgsz": "[192, 256]", "names": "{0: 'ü'}"})
    said = read_header(saved(model, tmp_path / "m.onnx"))
    assert said is not None
    assert said.inputs == (OnnxInput("images", TensorProto.FLOAT, (1, 3, 192, 256)),)
    assert said.metadata == {"imgsz": "[192, 256]", "names": "{0: 'ü'}"}
    assert said.operator_sets == {"": 17, "com.x": 2}


def test_open_axes(tmp_path: Path):
    said = read_header(saved(graph_of("n", 3, "height", 0), tmp_path / "m.onnx"))
    assert said is not None
    assert said.inputs[0].shape == (None, 3, None, None)


def test_weights_are_stepped_over(tmp_path: Path):
    file = saved(graph_of(1, 3, 64, 64, weights=20_000_000), tmp_path / "m.onnx")
    began = time.monotonic()
    assert read_header(file) is not None
    assert time.monotonic() - began < 1


NO_MODELS = {
    "empty": b"",
    "text": b"not a model at all, only text",
    "no graph": onnx.ModelProto(ir_version=8).SerializeToString(),
    "length beyond the end": b"\x3a\xff\xff\xff\xff\x0f",
    "endless number": b"\x3a" + b"\xff" * 100,
    "many fields": b"\x08\x01" * (onnx_header.MOST_FIELDS + 1),
    "many fields inside": b"\x3a\x80\x9b\xee\x02" + b"\x08\x01" * 3_000_000,
    "not text": b"\x3a\x02\x10\x00\x72\x04\x0a\x02\xff\xfe",
}


@pytest.mark.slow
@pytest.mark.parametrize("content", NO_MODELS.values(), ids=NO_MODELS)
def test_what_is_no_model_is_not_described(tmp_path: Path, content: bytes):
    (tmp_path / "m.onnx").write_bytes(content)
    began = time.monotonic()
    assert read_header(tmp_path / "m.onnx") is None
    assert time.monotonic() - began < 20


def test_what_is_no_file(tmp_path: Path):
    assert read_header(tmp_path) is None
    assert read_header(tmp_path / "none.onnx") is None


CONTENT = graph_of(1, 3, 64, 96).SerializeToString()


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 255), st.integers(0, len(CONTENT)))
def test_damage_is_described_or_not_but_never_raises(tmp_path_factory, place: int, byte: int, end: int):
    damaged = bytearray(CONTENT[:end])
    if place < len(damaged):
        damaged[place] = byte
    file = tmp_path_factory.getbasetemp() / "damaged.onnx"
    file.write_bytes(damaged)
    read_header(file)


def test_operators_of_the_sample(tmp_path: Path):
    model = foreign_models.sample()
    said = read_header(foreign_models.written(model, tmp_path / "m.onnx"))
    assert said is not None
    assert said.operators == {(node.domain, node.op_type) for node in model.graph.node}
    assert (said.operator_set, said.plugins()) == (18, [])


def test_operators_of_functions_and_nested_graphs(tmp_path: Path):
    model = foreign_models.in_operator_set_11()
    inner = helper.make_graph([helper.make_node("Inner", ["x"], ["y"], domain="nested")], "g", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner))
    model.functions.add(name="f", domain="local").node.add(op_type="EfficientNMS_TRT")
    model.graph.node.append(helper.make_node("f", ["x"], ["z"], domain="local"))
    said = read_header(foreign_models.written(model, tmp_path / "m.onnx"))
    assert said is not None
    assert [one.name for one in said.inputs] == ["images"]
    assert said.functions == {("local", "f")}
    assert said.plugins() == ["EfficientNMS_TRT", "nested:Inner"]
    assert said.operator_set == 11


def test_a_file_that_changed_is_read_again(tmp_path: Path):
    path = saved(graph_of(1, 3, 64, 64), tmp_path / "m.onnx")
    before = read_header(path)
    saved(graph_of(1, 3, 64, 128), path)
    assert read_header(path) != before


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def test_graphs_in_graphs_have_an_end(tmp_path: Path):
    deep = b"\x22\x02If"  # a node, in a graph, in an attribute of a node, in a graph, ...
    for field in (b"\x0a", b"\x32", b"\x2a") * 10_000:
        deep = field + varint(len(deep)) + deep
    graph = b"\x0a" + varint(len(deep)) + deep
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + varint(len(graph)) + graph)
    assert read_header(tmp_path / "m.onnx") is None


def test_nothing_heavy_is_imported():
    code = (
        "import sys, edgecompile.passes.onnx_import, edgecompile.passes.onnx_export\n"
        "print(sorted({'onnx', 'numpy', 'torch', 'onnxruntime', 'google'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def paired(zero_point: onnx.TensorProto | None, *, constant: bool = False) -> onnx.ModelProto:
    """Returns a model with one Q/DQ pair; its zero point is an initializer, in a Constant, or left out."""
    model = graph_of(1, 3, 64, 64)
    names = ["images", "scale", *(["zero"] if zero_point else [])]
    nodes = [
        helper.make_node("QuantizeLinear", names, ["q"]),
        helper.make_node("DequantizeLinear", ["q", *names[1:]], ["output"]),
    ]
    stored = [numpy_helper.from_array(np.float32(0.1), "scale")]
    if zero_point and constant:
        nodes.insert(0, helper.make_node("Constant", [], ["zero"], value=zero_point))
    elif zero_point:
        zero_point.name = "zero"
        stored.append(zero_point)
    graph = helper.make_graph(nodes, "g", list(model.graph.input), list(model.graph.output), stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    ("zero", "signed"),
    [
        (numpy_helper.from_array(np.zeros(1, np.int8)), True),
        (numpy_helper.from_array(np.zeros(300, np.int8)), True),
        (numpy_helper.from_array(np.array([0, 0, 3], np.int8)), False),
        (numpy_helper.from_array(np.zeros(1, np.uint8)), False),
        (helper.make_tensor("z", TensorProto.INT8, [1], [0]), True),
        (helper.make_tensor("z", TensorProto.INT8, [1], [5]), False),
        (None, False),
    ],
)
def test_pairs_around_zero_are_told_from_others(tmp_path: Path, zero, signed: bool, constant: bool) -> None:
    header = read_header(saved(paired(zero, constant=constant), tmp_path / "m.onnx"))
    assert header is not None
    assert header.signed_pairs is signed
