"""Builds colour order, scaling and layout into an ONNX model, so that it takes pictures as a camera gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgecompile.graphs.onnx.agreement import COLOURS
from edgecompile.graphs.onnx.structure import Structure
from edgecompile.graphs.onnx.walk import nodes_within

BYTE = 1 / 255


def embed_pictures(model: onnx.ModelProto) -> str:
    """Changes the model's input, in place, from float32 (n, channels, h, w) scaled to 0..1 to uint8 (n, h, w,
    channels); of three channels, from RGB to BGR. Returns a line on what was done.

    Scaling and colour order cost nothing at run time where they can be folded into the first convolution: a picture
    padded with zeros is zero before and after scaling, so the fold is exact up to rounding.
    """
    structure = Structure(model)
    entry = model.graph.input[0]
    name, colours = entry.name, _takes_colours(entry)
    order = "NHWC BGR" if colours else "NHWC"
    planes = f"{name}_planes"
    readers = structure.consumers.get(name, [])
    nested = _nested_readers(model, name)
    learned = [] if nested else readers  # what nested graphs read cannot be folded into weights
    added = [helper.make_node("Transpose", [name], [planes], name=f"{name}/Transpose", perm=[0, 3, 1, 2])]
    if _rewrite_convolutions(model, structure, _quantized_readers(structure, learned), reverse=colours):
        for reader in readers:  # the byte is the quantized value: scale 1/255, zero point 0
            _replace(model, reader.output[0], planes)
            model.graph.node.remove(reader)
        change = f"takes uint8 {order}: bytes feed the first INT8 convolution, colour order is folded into its weights"
    elif _rewrite_convolutions(model, structure, _learned_readers(structure, learned), reverse=colours, scale=BYTE):
        added.append(
            helper.make_node("Cast", [planes], [f"{name}_float"], name=f"{name}/Cast", to=onnx.TensorProto.FLOAT)
        )
        _redirect(readers, name, f"{name}_float")
        change = f"takes uint8 {order}: scaling and colour order are folded into the first convolution"
    else:
        added += _arithmetic(model, name, planes, reverse=colours)
        _redirect([*readers, *nested], name, f"{name}_scaled")
        change = (
            f"takes uint8 {order}: scaling and colour order stand before the first operator, which cannot take them in"
        )
    for position, node in enumerate(added):
        model.graph.node.insert(position, node)
    _take_pictures(entry)
    return change


def embed_casts(model: onnx.ModelProto) -> str:
    """As `embed_pictures`, for runtimes that know bytes as an input only: they become float before anything is done."""
    structure = Structure(model)
    entry = model.graph.input[0]
    name = entry.name
    added = [
        helper.make_node("Cast", [name], [f"{name}_float"], name=f"{name}/Cast", to=onnx.TensorProto.FLOAT),
        helper.make_node(
            "Transpose", [f"{name}_float"], [f"{name}_planes"], name=f"{name}/Transpose", perm=[0, 3, 1, 2]
        ),
    ]
    planes, order = f"{name}_planes", "NHWC"
    if _takes_colours(entry):
        added.append(_reversal(model, name, planes))
        planes, order = added[-1].output[0], "NHWC BGR"
    added.append(_scaling(model, name, planes))
    readers = [*structure.consumers.get(name, []), *_nested_readers(model, name)]
    _redirect(readers, name, f"{name}_scaled")
    for position, node in enumerate(added):
        model.graph.node.insert(position, node)
    _take_pictures(entry)
    return f"takes uint8 {order}: cast, colour order and scaling stand before the first operator"


def _takes_colours(entry: onnx.ValueInfoProto) -> bool:
    return entry.type.tensor_type.shape.dim[1].dim_value == COLOURS


def _take_pictures(entry: onnx.ValueInfoProto) -> None:
    """Changes an input of (n, c, h, w) to uint8 (n, h, w, c)."""
    count, channels, height, width = (_side(dimension) for dimension in entry.type.tensor_type.shape.dim)
    shape = [count, height, width, channels]
    entry.CopyFrom(helper.make_tensor_value_info(entry.name, onnx.TensorProto.UINT8, shape))


def _side(dimension: Any) -> int | str:
    return dimension.dim_param or dimension.dim_value


def _nested_readers(model: onnx.ModelProto, name: str) -> list[Any]:
    """Returns the nodes of graphs within nodes that read a tensor of the graph around them."""
    attributes = (attribute for node in model.graph.node for attribute in node.attribute)
    return [node for attribute in attributes for node in nodes_within(attribute) if name in node.input]


def _learned_readers(structure: Structure, readers: list[Any]) -> list[Any]:
    """Returns `readers` when all are plain convolutions with constant float weights, else nothing."""
    plain = all(
        node.op_type == "Conv" and _groups(node) == 1 and node.input[1] in structure.constants for node in readers
    )
    return readers if plain else []


def _quantized_readers(structure: Structure, readers: list[Any]) -> list[Any]:
    """Returns the convolutions behind a Q/DQ pair on the input whose steps are those of a byte, else nothing."""
    first_convolutions = []
    for quantize in readers:
        if quantize.op_type != "QuantizeLinear" or len(quantize.input) < 3:
            return []
        scale, zero = structure.value(quantize.input[1]), structure.value(quantize.input[2])
        if zero.dtype != np.uint8 or zero.size != 1 or int(zero) != 0 or not np.isclose(scale, BYTE, rtol=1e-6):
            return []
        for dequantize in structure.consumers.get(quantize.output[0], []):
            convolutions = structure.consumers.get(dequantize.output[0], [])
            if any(node.op_type != "Conv" or _groups(node) != 1 for node in convolutions):
                return []
            first_convolutions += convolutions
    return first_convolutions


def _groups(node: Any) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _rewrite_convolutions(
    model: onnx.ModelProto, structure: Structure, convolutions: list[Any], *, reverse: bool, scale: float = 1.0
) -> bool:
    """Reverses the input channels of the weights (and scales float weights); returns whether it could be done."""
    sources = []
    for node in convolutions:
        weights = node.input[1]
        producer = structure.producer.get(weights)
        if producer is not None and producer.op_type == "DequantizeLinear":
            weights = producer.input[0]
        if weights not in structure.initializers or _reads(model, structure, weights) != 1:
            return False
        sources.append(weights)
    for weights in sources:
        tensor = structure.initializers[weights]
        value = numpy_helper.to_array(tensor)
        value = value[:, ::-1] if reverse else value
        if scale != 1.0:
            value = (value.astype(np.float64) * scale).astype(value.dtype)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), weights))
    return bool(sources)


def _reads(model: onnx.ModelProto, structure: Structure, name: str) -> int:
    return len(structure.consumers.get(name, [])) + len(_nested_readers(model, name))


def _arithmetic(model: onnx.ModelProto, name: str, planes: str, *, reverse: bool) -> list[Any]:
    """Returns nodes that reverse the channels, convert to float and scale."""
    nodes = [_reversal(model, name, planes)] if reverse else []
    ordered = nodes[-1].output[0] if nodes else planes
    cast = helper.make_node("Cast", [ordered], [f"{name}_float"], name=f"{name}/Cast", to=onnx.TensorProto.FLOAT)
    return [*nodes, cast, _scaling(model, name, cast.output[0])]


def _reversal(model: onnx.ModelProto, name: str, planes: str) -> Any:
    """Returns a node that reverses three channels; adds its constant."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0], np.int64), f"{name}_order"))
    return helper.make_node("Gather", [planes, f"{name}_order"], [f"{name}_rgb"], name=f"{name}/Gather", axis=1)


def _scaling(model: onnx.ModelProto, name: str, values: str) -> Any:
    """Returns a node that scales bytes to 0..1; adds its constant."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(BYTE, np.float32), f"{name}_unit"))
    return helper.make_node("Mul", [values, f"{name}_unit"], [f"{name}_scaled"], name=f"{name}/Mul")


def _redirect(readers: list[Any], old: str, new: str) -> None:
    for node in readers:
        for position, source in enumerate(node.input):
            if source == old:
                node.input[position] = new


def _replace(model: onnx.ModelProto, old: str, new: str) -> None:
    _redirect(list(model.graph.node), old, new)
