"""The post-processing of a model as an ONNX graph: from rows of objects to those that count, padded to a fixed number.

The arithmetic is that of `edgecompile.runtime.tasks._boxes`, in float32 and in its order, so that the result is equal:
the boxes of each class are moved away from those of other classes, and one suppression chooses among all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.node_list import FLOAT, INT64, NodeList
from edgecompile.graphs.onnx.rotated_suppression import suppressed_rotated
from edgecompile.graphs.onnx.row_choice import RAW, ChosenRows, Rows, count_true, numbers_of_pictures
from edgecompile.graphs.onnx.walk import nodes_within
from edgecompile.runtime.tasks._boxes import CLASS_OFFSET
from edgecompile.runtime.tasks._object_rows import BESIDE, BOXES, CLASSES, COUNTS, PARAMETERS, SCORES

PREFIX = "postprocess"
LEAST_OPERATOR_SET = 13


@dataclass(frozen=True)
class Thresholds:
    """Lowest score, largest overlap, most boxes; `as_inputs`: of the model, which then take the place of the first
    two and may lower the third."""

    conf: float
    iou: float
    max_det: int
    as_inputs: bool = False


def graph_behind(rows: Rows, thresholds: Thresholds, operator_set: int) -> onnx.ModelProto:
    """Returns a model that takes `RAW`, and the thresholds where they are inputs, and puts out `BOXES` (n, max_det, 4)
    as x1 y1 x2 y2 or, of rotated boxes, as the rows hold them, `SCORES` (n, max_det), `CLASSES` (n, max_det) int64,
    `COUNTS` (n,) int64 and, of rows with extras, `BESIDE` (n, max_det, extras). Places beyond the count of a picture
    hold zeros.

    Raises:
        StepError: the operator set is too old.
    """
    if operator_set < LEAST_OPERATOR_SET:
        raise StepError(
            f"the post-processing needs operator set {LEAST_OPERATOR_SET}, the model has {operator_set}",
            fix=f"export the model with operator set {LEAST_OPERATOR_SET} or later",
        )
    nodes = NodeList(operator_set, PREFIX)
    choose = {"yolo": _suppressed, "rotated": suppressed_rotated, "end2end": _rows_above}[rows.decode]
    chosen = choose(nodes, rows, _threshold_values(nodes, thresholds), thresholds.max_det)
    outputs = _padded(nodes, chosen, thresholds.max_det)
    count = rows.shape[0] if rows.shape[0] > 0 else "n"
    wide = {BOXES: [4], SCORES: [], CLASSES: [], BESIDE: [rows.extras]}
    shapes = {name: [count, thresholds.max_det, *wide[name]] if name in wide else [count] for name in outputs}
    for name, value in outputs.items():
        nodes.put(helper.make_node("Identity", [value], [name], name=f"{PREFIX}/{name}"))
    kinds = dict.fromkeys((CLASSES, COUNTS), INT64)
    graph = helper.make_graph(
        nodes.nodes,
        "model",
        [helper.make_tensor_value_info(RAW, FLOAT, _open_axes(rows.shape)), *_threshold_inputs(thresholds)],
        [helper.make_tensor_value_info(name, kinds.get(name, FLOAT), shape) for name, shape in shapes.items()],
        nodes.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", operator_set)], ir_version=8)


def append(model: onnx.ModelProto, output: str, behind: onnx.ModelProto) -> None:
    """Lets the graph of `graph_behind` read an output of a model, in place: its outputs come first, then the model's
    other outputs."""
    graph = model.graph
    _make_way(model, {value.name for value in (*behind.graph.output, *behind.graph.input) if value.name != RAW})
    for node in behind.graph.node:
        node.input[:] = [output if name == RAW else name for name in node.input]
    graph.node.extend(behind.graph.node)
    graph.initializer.extend(behind.graph.initializer)
    graph.input.extend(value for value in behind.graph.input if value.name != RAW)
    others = [value for value in graph.output if value.name != output]
    del graph.output[:]
    graph.output.extend([*behind.graph.output, *others])


def _make_way(model: onnx.ModelProto, taken: set[str]) -> None:
    """Renames the tensors within a model that have one of some names, in place."""
    if {value.name for value in (*model.graph.input, *model.graph.output)} & taken:
        names = ", ".join(sorted(taken))
        raise StepError(f"the model has an input or output of a name that the post-processing needs: {names}")
    for node in nodes_within(model):
        node.input[:] = [f"{name}_within" if name in taken else name for name in node.input]
        node.output[:] = [f"{name}_within" if name in taken else name for name in node.output]
    for value in (*model.graph.initializer, *model.graph.value_info):
        if value.name in taken:
            value.name = f"{value.name}_within"


def _threshold_values(nodes: NodeList, thresholds: Thresholds) -> tuple[str, str, str]:
    """Returns the names of the lowest score, the largest overlap and the most boxes, each of one element."""
    if not thresholds.as_inputs:
        conf, iou = (nodes.constant(np.array([value], np.float32)) for value in (thresholds.conf, thresholds.iou))
        return conf, iou, nodes.whole(thresholds.max_det)
    conf, iou, most = PARAMETERS
    return conf, iou, nodes.add("Min", most, nodes.whole(thresholds.max_det))


def _threshold_inputs(thresholds: Thresholds) -> list[onnx.ValueInfoProto]:
    if not thresholds.as_inputs:
        return []
    kinds = {name: helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for name, kind in PARAMETERS.items()}
    return [helper.make_tensor_value_info(name, kind, [1]) for name, kind in kinds.items()]


def _open_axes(shape: Sequence[int]) -> list[int | str]:
    return [side if side > 0 else f"axis{axis}" for axis, side in enumerate(shape)]


def _suppressed(nodes: NodeList, rows: Rows, values: tuple[str, str, str], width: int) -> ChosenRows:
    """Suppresses boxes of (n, 4 + classes + extras, anchors)."""
    conf, iou, most = values
    boxes, scores, *extras = nodes.parts(RAW, [4, rows.classes, rows.extras], axis=1)
    centre, size = nodes.parts(boxes, [2, 2], axis=1)
    half = nodes.add("Div", size, nodes.constant(np.array(2, np.float32)))
    corners = nodes.add("Concat", nodes.add("Sub", centre, half), nodes.add("Add", centre, half), axis=1)
    best = nodes.largest(scores, axis=1)
    classes = nodes.add("ArgMax", scores, axis=1, keepdims=1)
    apart = corners
    if not rows.class_agnostic:
        numbers = nodes.add("Cast", classes, to=FLOAT)
        offset = nodes.add("Mul", numbers, nodes.constant(np.array(CLASS_OFFSET, np.float32)))
        apart = nodes.add("Add", corners, offset)
    judged, in_rows = (nodes.add("Transpose", value, perm=[0, 2, 1]) for value in (apart, corners))
    chosen = nodes.add("NonMaxSuppression", judged, best, most, iou, conf)  # (k, 3): picture, 0, anchor
    pictures, _, anchors = nodes.parts(chosen, [1, 1, 1], axis=1)
    columns = {
        BOXES: nodes.reshape(in_rows, -1, 4),
        SCORES: nodes.reshape(best, -1),
        CLASSES: nodes.reshape(classes, -1),
    }
    if extras:
        columns[BESIDE] = nodes.reshape(nodes.add("Transpose", extras[0], perm=[0, 2, 1]), -1, rows.extras)
    flat = nodes.add("Add", nodes.add("Mul", pictures, nodes.side(best, 2)), anchors)
    own = numbers_of_pictures(nodes)
    of_pictures = nodes.reshape(pictures, 1, -1)
    counts = count_true(nodes, nodes.add("Equal", of_pictures, own))
    first = count_true(nodes, nodes.add("Less", of_pictures, own))
    slots = nodes.constant(np.arange(width, dtype=np.int64)[None])
    zero = nodes.whole(0)
    place = nodes.add("Where", nodes.add("Less", slots, counts), nodes.add("Add", first, slots), zero)
    index = nodes.add("Gather", nodes.add("Concat", nodes.reshape(flat, -1), zero, axis=0), place, axis=0)
    return ChosenRows(index, counts, columns)


def _rows_above(nodes: NodeList, rows: Rows, values: tuple[str, str, str], width: int) -> ChosenRows:
    """Chooses among rows of (n, boxes, 6 + extras), in their order. TopK brings those above the threshold to the front:
    not all runtimes have NonZero."""
    conf, _, most = values
    count = rows.shape[1]
    if count < 1:
        raise StepError("the number of rows of the output may change, and the post-processing needs to know it")
    boxes, scores, classes, *extras = nodes.parts(RAW, [4, 1, 1, rows.extras], axis=2)
    above = nodes.add("Greater", nodes.reshape(scores, -1, count), conf)
    falling = nodes.constant(np.arange(count, 0, -1, dtype=np.float32)[None])
    keys = nodes.add("Where", above, falling, nodes.constant(np.array(0, np.float32)))
    _, first = nodes.split("TopK", keys, nodes.whole(min(width, count)), outputs=2, axis=1)
    if width > count:
        first = nodes.add("Pad", first, nodes.whole(0, 0, 0, width - count))
    own = numbers_of_pictures(nodes)
    index = nodes.add("Add", first, nodes.add("Mul", own, nodes.whole(count)))
    columns = {
        BOXES: nodes.reshape(boxes, -1, 4),
        SCORES: nodes.reshape(scores, -1),
        CLASSES: nodes.add("Cast", nodes.reshape(classes, -1), to=INT64),
    }
    if extras:
        columns[BESIDE] = nodes.reshape(extras[0], -1, rows.extras)
    return ChosenRows(index, nodes.add("Min", count_true(nodes, above), most), columns)


def _padded(nodes: NodeList, chosen: ChosenRows, width: int) -> dict[str, str]:
    """Puts the chosen rows of each picture side by side, and zeros behind them."""
    slots = nodes.constant(np.arange(width, dtype=np.int64)[None])
    filled = nodes.add("Less", slots, chosen.counts)
    filled_rows = nodes.add("Unsqueeze", filled, nodes.whole(2))
    outputs = {}
    for name, values in chosen.values.items():
        gathered = nodes.add("Gather", values, chosen.index, axis=0)
        nothing = nodes.constant(np.array(0, np.int64 if name == CLASSES else np.float32))
        outputs[name] = nodes.add("Where", filled_rows if name in (BOXES, BESIDE) else filled, gathered, nothing)
    outputs[COUNTS] = nodes.reshape(chosen.counts, -1)
    return {name: outputs[name] for name in (BOXES, SCORES, CLASSES, COUNTS, BESIDE) if name in outputs}
