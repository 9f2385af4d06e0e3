"""An ONNX graph in numbers: its operators, and in which precision its learned layers and its weights are."""

from __future__ import annotations

from collections import Counter

import onnx

from edgecompile.graphs.onnx.structure import LEARNED, Structure

INTEGER = frozenset({"ConvInteger", "MatMulInteger", "QGemm", "QLinearConv", "QLinearMatMul"})
"""Operators that compute with integers by themselves, without the Q/DQ pairs around them."""
DEQUANTIZES = "DequantizeLinear"
LAYOUT = frozenset({"Cast", "Reshape", "Transpose"})
PRECISIONS = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16", "DOUBLE": "fp64", "UINT8": "int8", "INT8": "int8"}


def summary(content: bytes) -> dict[str, int]:
    """Returns counts by name: `operators.Conv`, `layers.int8` (learned layers by the precision of their weights) and
    `weights.int8` (constant numbers by the precision in which they are stored).

    Args:
        content: an ONNX file without external data.
    """
    model = onnx.load_model_from_string(content)
    structure = Structure(model)
    counts = Counter(f"operators.{node.op_type}" for node in structure.nodes)
    for node in structure.nodes:
        if node.op_type in INTEGER:
            counts["layers.int8"] += 1
        elif node.op_type in LEARNED and (precision := _of_weights(node, structure)):
            counts[f"layers.{precision}"] += 1
    for tensor in structure.initializers.values():
        size = 1
        for side in tensor.dims:
            size *= side
        counts[f"weights.{_precision(tensor)}"] += size
    return dict(sorted(counts.items()))


def _of_weights(node: onnx.NodeProto, structure: Structure) -> str | None:
    """Returns the precision in which the weights of a layer are stored; None where it multiplies two activations."""
    for name in node.input[:2]:
        source = structure.producer.get(name)
        while source is not None and source.op_type in LAYOUT | {DEQUANTIZES}:
            name = source.input[0]
            source = structure.producer.get(name)
        if name in structure.initializers:
            return _precision(structure.initializers[name])
    return None


def _precision(tensor: onnx.TensorProto) -> str:
    name = onnx.TensorProto.DataType.Name(tensor.data_type)
    return PRECISIONS.get(name, name.lower())
