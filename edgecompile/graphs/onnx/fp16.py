"""Writes FP16 into an ONNX graph: weights, operators and the scales of Q/DQ pairs; inputs and outputs stay float."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

SCALES_IN_HALF = 19
"""ONNX operator set from which on QuantizeLinear and DequantizeLinear take scales in FP16."""


def halve(model: onnx.ModelProto, *, operators: Iterable[str] = (), nodes: Iterable[str] = ()) -> onnx.ModelProto:
    """Returns the model in FP16. A node of `operators` (by type) or of `nodes` (by name) is left in float."""
    from onnxruntime.transformers import float16

    from edgecompile.graphs.onnx.serialization import sort_nodes

    with np.errstate(all="ignore"):  # numbers below the smallest of FP16 become that, which is what is wanted
        halved = float16.convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *operators],
            node_block_list=list(nodes),
        )
    return sort_nodes(halved)


def decode_names(model: onnx.ModelProto) -> list[str]:
    """Returns the names of the nodes that decode boxes and scores, which stay in float: FP16 has steps of a quarter of
    a pixel from 256 pixels on, and of half a pixel from 512 on."""
    from edgecompile.graphs.onnx.structure import Structure, name_nodes

    name_nodes(model.graph.node)
    return [node.name for node in Structure(model).decode()]


def with_half_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model in an operator set whose Q/DQ pairs take scales in FP16."""
    known = max(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx"))
    return model if known >= SCALES_IN_HALF else onnx.version_converter.convert_version(model, SCALES_IN_HALF)
