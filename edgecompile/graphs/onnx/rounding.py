"""Quantized graphs without their rounding, so that a rewrite of them is judged by the tolerance of float graphs."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.structure import Structure


def without_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a quantized graph that computes with its dequantized weights, and rounds no activation.

    A difference in the last bit of a float may round to the next step of a quantizer, and one step moves a box by
    pixels. So the tolerance of float graphs holds for quantized graphs where no activation is rounded, and the
    quantizers themselves are compared by `require_same_quantizers`.
    """
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    structure = Structure(copy)
    for node in structure.nodes:
        if node.op_type == "DequantizeLinear":
            quantize = structure.producer.get(node.input[0])
            if quantize is not None and quantize.op_type == "QuantizeLinear":
                _pass_on(node, quantize.input[0])
        elif node.op_type == "DynamicQuantizeLinear":
            _multiply_in_float(copy, structure, node)
    return copy


def _pass_on(node: onnx.NodeProto, source: str) -> None:
    """Makes an `Identity` of `source` of a node, in place."""
    node.op_type = "Identity"
    node.input[:] = [source]
    del node.attribute[:]


def _multiply_in_float(model: onnx.ModelProto, structure: Structure, quantize: onnx.NodeProto) -> None:
    """Makes, in place, float products of those of integers that read a `DynamicQuantizeLinear`, with the scale 1."""
    values, scale, _zero = quantize.output
    for product in structure.consumers.get(values, []):
        weights = f"{product.output[0]}_weights"
        whole = structure.value(product.input[1]).astype(np.float32)
        if len(product.input) > 3 and product.input[3]:
            whole -= structure.value(product.input[3]).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(whole, weights))
        product.op_type = "MatMul" if product.op_type == "MatMulInteger" else "Conv"
        product.input[:] = [values, weights]
    position = list(model.graph.node).index(quantize)
    unit = numpy_helper.from_array(np.array(1, np.float32), f"{scale}_one")
    model.graph.node.insert(position, helper.make_node("Constant", [], [scale], value=unit))
    _pass_on(quantize, quantize.input[0])
    quantize.output[:] = [values]


def require_same_quantizers(before: onnx.ModelProto, after: onnx.ModelProto, action: str) -> None:
    """Raises:
    StepError: when two graphs dequantize activations by other scales and zero points.
    """
    if _dequantizers(before) != _dequantizers(after):
        raise StepError(f"{action} changed the scales by which the model is quantized")


def _dequantizers(model: onnx.ModelProto) -> list[tuple[bytes, ...]]:
    """Returns scale, zero point and its type for each tensor of activations that is dequantized, sorted."""
    structure = Structure(model)
    return sorted(
        tuple(part for name in node.input[1:] for part in _plain(structure.value(name)))
        for node in structure.nodes
        if node.op_type == "DequantizeLinear" and node.input[0] not in structure.constants
    )


def _plain(value: np.ndarray) -> tuple[bytes, bytes]:
    return value.dtype.str.encode(), value.tobytes()
