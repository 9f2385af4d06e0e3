"""The layers with weights of an ONNX artifact: in which precision each multiplies, and how much."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from edgecompile.evaluate.layer_coverage import Layer
from edgecompile.graphs.onnx.structure import PAIR, Structure

INTEGER = {"ConvInteger": 1, "MatMulInteger": 1, "QGemm": 3, "QLinearConv": 3, "QLinearMatMul": 3}
"""Operators that compute with integers by themselves, without Q/DQ pairs around them: which input is the weights."""
PRECISIONS = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16", "DOUBLE": "fp64", "UINT8": "int8", "INT8": "int8"}


def precisions(structure: Structure) -> dict[str, str]:
    """Returns the precision of each layer with weights, by the name of what it puts out, in the graph's order."""
    by_output = {}
    for node in structure.nodes:
        if node.op_type in INTEGER and node.input[INTEGER[node.op_type]] in structure.fixed:
            by_output[node.output[0]] = "int8"
        elif structure.is_learned(node):
            by_output[node.output[0]] = _precision(structure, node)
    return by_output


def _precision(structure: Structure, node: onnx.NodeProto) -> str:
    """Returns what a layer multiplies in: 8 bits where both weights and activations come from 8 bits, else the
    precision of its weights."""
    weights, between = structure.stored(next(name for name in node.input[:2] if name in structure.fixed))
    if not any(maker.op_type in PAIR for maker in between):
        return precision_of(_type_of(structure, weights))
    source = structure.producer.get(structure.inputs(node)[0])
    if source is not None and source.op_type == "DequantizeLinear":
        return "int8"
    scale, _ = structure.stored(next(maker for maker in between if maker.op_type in PAIR).input[1])
    return precision_of(_type_of(structure, scale))


def _type_of(structure: Structure, constant: str) -> int:
    if constant in structure.initializers:
        return structure.initializers[constant].data_type
    return helper.np_dtype_to_tensor_dtype(structure.value(constant).dtype)


def precision_of(kind: int) -> str:
    """Returns the precision of numbers of an ONNX data type."""
    name = onnx.TensorProto.DataType.Name(kind)
    return PRECISIONS.get(name, name.lower())


def layers(model: onnx.ModelProto, size: Sequence[int]) -> list[Layer]:
    """Returns the layers with weights of a model, in its order.

    Args:
        size: height and width that the input usually has, where the graph leaves them open.
    """
    structure = Structure(model)
    by_output = precisions(structure)
    nodes = [structure.producer[name] for name in by_output]
    shapes = shapes_of_tensors(model, {_counted(structure, node) for node in nodes}, size)
    return [
        Layer(node.name or name, precision, math.prod(shapes[_counted(structure, node)]) * _depth(structure, node))
        for node, (name, precision) in zip(nodes, by_output.items(), strict=True)
    ]


def _counted(structure: Structure, node: onnx.NodeProto) -> str:
    """Returns the tensor each of whose numbers takes part in equally many products."""
    return structure.inputs(node)[0] if node.op_type == "ConvTranspose" else node.output[0]


def _depth(structure: Structure, node: onnx.NodeProto) -> int:
    """Returns how many products each number of that tensor takes part in."""
    position = INTEGER.get(node.op_type) or next(at for at, name in enumerate(node.input) if name in structure.fixed)
    weights, _ = structure.stored(node.input[position])
    shape = list(structure.value(weights).shape)
    if "Conv" in node.op_type:
        return math.prod(shape[1:])
    if node.op_type in ("Gemm", "QGemm"):
        swapped = {attribute.name: attribute.i for attribute in node.attribute}
        first = position == 0
        return shape[1 - swapped.get("transA", 0)] if first else shape[swapped.get("transB", 0)]
    return shape[-1] if position == 0 or len(shape) == 1 else shape[-2]


def shapes_of_tensors(model: onnx.ModelProto, names: set[str], size: Sequence[int]) -> dict[str, list[int]]:
    """Returns the shapes of tensors for one input of the usual size: the graph runs, and puts out shapes alone."""
    from edgecompile.graphs.onnx.agreement import single_thread_session

    probe = onnx.ModelProto.FromString(model.SerializeToString())
    ordered = sorted(names)
    graph = probe.graph
    del graph.output[:]
    for number, name in enumerate(ordered):
        graph.node.append(helper.make_node("Shape", [name], [f"shape_of_{number}"]))
        graph.output.append(helper.make_tensor_value_info(f"shape_of_{number}", onnx.TensorProto.INT64, None))
    if not ordered:
        return {}
    entry = next(value for value in graph.input if value.name not in {tensor.name for tensor in graph.initializer})
    kind = entry.type.tensor_type
    shape = _usual([side.dim_value for side in kind.shape.dim], size)
    session = single_thread_session(probe.SerializeToString(), optimize="ORT_DISABLE_ALL")
    picture = np.zeros(shape, helper.tensor_dtype_to_np_dtype(kind.elem_type))
    results = session.run(None, {entry.name: picture})
    return {name: [int(side) for side in shape] for name, shape in zip(ordered, results, strict=True)}


def _usual(sides: Sequence[int], size: Sequence[int]) -> list[int]:
    """Returns the shape of one picture: (n, c, h, w), or (n, h, w, c) where the last side is that of the channels."""
    interleaved = sides[3] in (1, 3, 4) and sides[1] not in (1, 3, 4)
    usual = [1, *size, sides[3]] if interleaved else [1, sides[1] or 3, *size]
    return [side or default for side, default in zip(sides, usual, strict=True)]
