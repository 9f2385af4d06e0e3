"""Slices that cut one tensor into pieces, written as one Split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgecompile.graphs.onnx.structure import Structure

FIRST_WITH_SIZES = 13
"""Operator set from which the sizes of a Split are an input."""


@dataclass(frozen=True)
class _Piece:
    """A Slice along one axis, from `begin` up to `end`."""

    node: onnx.NodeProto
    axis: int
    begin: int
    end: int


def merge_gathered_slices(model: onnx.ModelProto) -> int:
    """Writes each group of Slices that cut a tensor into pieces, one of which a GatherElements reads, as one Split, in
    place. Returns how many groups there were.

    NMS-free heads with more than boxes and scores cut their rows into three pieces and gather the best of each.
    OpenVINO (2026.4) lets the gather of such a piece read the whole tensor and then refuses it, since the whole is
    wider than what is gathered; of a Split it computes the same.
    """
    operators = max((opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), default=0)
    if operators < FIRST_WITH_SIZES:
        return 0
    inferred = onnx.shape_inference.infer_shapes(model)
    infos = (*inferred.graph.input, *inferred.graph.value_info)
    shapes = {info.name: [side.dim_value for side in info.type.tensor_type.shape.dim] for info in infos}
    structure = Structure(model)
    groups: dict[tuple[str, int], list[_Piece]] = {}
    for node in structure.nodes:
        if (piece := _piece(structure, node, shapes)) is not None:
            groups.setdefault((node.input[0], piece.axis), []).append(piece)
    merged = 0
    for (source, axis), pieces in groups.items():
        pieces.sort(key=lambda piece: piece.begin)
        bounds = [0, *(piece.end for piece in pieces)]
        covers = [piece.begin for piece in pieces] == bounds[:-1] and bounds[-1] == shapes[source][axis]
        readers = {reader.op_type for piece in pieces for reader in structure.consumers.get(piece.node.output[0], [])}
        if covers and len(pieces) > 1 and "GatherElements" in readers:
            _write(model, source, axis, pieces)
            merged += 1
    return merged


def _piece(structure: Structure, node: onnx.NodeProto, shapes: dict[str, list[int]]) -> _Piece | None:
    """Returns what a Slice cuts out, where that is known and is of one axis, in steps of 1."""
    if (
        node.op_type != "Slice"
        or len(node.input) < 4
        or not structure.constants.issuperset(filter(None, node.input[1:]))
    ):
        return None
    sides = shapes.get(node.input[0], [])
    begin, end, axis, *step = (structure.value(name).ravel() for name in node.input[1:] if name)
    if len(axis) != 1 or any(value.tolist() != [1] for value in step):
        return None
    number = int(axis[0]) % len(sides) if sides else 0
    if not sides or not sides[number]:
        return None
    low, high, _ = slice(int(begin[0]), int(end[0])).indices(sides[number])
    return _Piece(node, number, low, high) if low < high else None


def _write(model: onnx.ModelProto, source: str, axis: int, pieces: list[_Piece]) -> None:
    """Puts a Split in the place of the first of the pieces."""
    nodes = model.graph.node
    place = min(list(nodes).index(piece.node) for piece in pieces)
    sizes = f"{pieces[0].node.output[0]}/sizes"
    lengths = np.array([piece.end - piece.begin for piece in pieces], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(lengths, sizes))
    outputs = [piece.node.output[0] for piece in pieces]
    split = helper.make_node("Split", [source, sizes], outputs, name=f"{outputs[0]}/Split", axis=axis)
    for piece in pieces:
        nodes.remove(piece.node)
    nodes.insert(place, split)
