"""Writes FP16 into an ONNX graph: weights, operators and the scales of Q/DQ pairs; inputs and outputs stay float."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

ROUNDED = "_cast_to_fp16"
"""End of the names that the converter gives to what a node in float puts out, before it is rounded to FP16."""
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
    return _without_round_trips(sort_nodes(halved))


def _without_round_trips(model: onnx.ModelProto) -> onnx.ModelProto:
    """Hands, in place, what one node in float puts out to the next as it is, and returns the model.

    The converter rounds it to FP16 between the two, where large numbers become infinite and pixels of boxes coarse.
    """
    from edgecompile.graphs.onnx.dfl import drop_unread
    from edgecompile.graphs.onnx.structure import Structure

    structure = Structure(model)
    outputs = {output.name for output in model.graph.output}
    for back in structure.nodes:
        rounds = structure.producer.get(back.input[0]) if back.op_type == "Cast" else None
        if rounds is None or rounds.op_type != "Cast" or not rounds.input[0].endswith(ROUNDED):
            continue
        name, restored = rounds.input[0], back.output[0]
        for node in structure.consumers.get(restored, []):
            node.input[:] = [name if source == restored else source for source in node.input]
        if restored in outputs:  # what makes it takes the name of the output
            back.output[:] = [f"{restored}{ROUNDED}"]
            for node in (structure.producer[name], *model.graph.node):
                node.input[:] = [restored if source == name else source for source in node.input]
                node.output[:] = [restored if output == name else output for output in node.output]
    drop_unread(model)
    produced = {name for node in model.graph.node for name in node.output}
    infos = [info for info in model.graph.value_info if info.name in produced]
    del model.graph.value_info[:]
    model.graph.value_info.extend(infos)
    return model


def decode_names(model: onnx.ModelProto) -> list[str]:
    """Returns the names of the nodes that decode boxes and scores, which stay in float: FP16 has steps of a quarter of
    a pixel from 256 pixels on, and of half a pixel from 512 on."""
    from edgecompile.graphs.onnx.structure import Structure, name_nodes

    name_nodes(model.graph.node)
    return [node.name for node in Structure(model).decode()]


def with_half_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model in an operator set whose Q/DQ pairs take scales in FP16."""
    version = max(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx"))
    return model if version >= SCALES_IN_HALF else onnx.version_converter.convert_version(model, SCALES_IN_HALF)
