"""The post-processing of a model as an ONNX graph: from rows of objects to those that count, padded to a fixed number.

The arithmetic is that of `edgecompile.runtime.tasks._boxes`, in float32 and in its order, so that the result is equal:
the boxes of each class are moved away from those of other classes, and one suppression chooses among all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.walk import nodes_within
from edgecompile.runtime.tasks._boxes import CLASS_OFFSET
from edgecompile.runtime.tasks._object_rows import BESIDE, BOXES, CLASSES, COUNTS, PARAMETERS, SCORES

RAW = "raw"
"""Name of the input of a graph that `graph_behind` returns: the rows of a model."""
PREFIX = "postprocess"
LEAST_OPERATOR_SET = 13
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


@dataclass(frozen=True)
class Rows:
    """The output of a model that holds rows of objects.

    Attributes:
        decode: "yolo" or "end2end", see `edgecompile.runtime.tasks._object_rows.ObjectRows`.
        shape: (n, values, anchors) of "yolo", (n, boxes, values) of "end2end"; -1 for what may change.
        classes: how many there are.
        extras: how many values of a row belong to the task alone.
        class_agnostic: whether boxes of different classes may drop each other.
    """

    decode: str
    shape: tuple[int, ...]
    classes: int
    extras: int
    class_agnostic: bool = False


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
    as x1 y1 x2 y2, `SCORES` (n, max_det), `CLASSES` (n, max_det) int64, `COUNTS` (n,) int64 and, of rows with extras,
    `BESIDE` (n, max_det, extras). Places beyond the count of a picture hold zeros.

    Raises:
        StepError: the operator set is too old.
    """
    if operator_set < LEAST_OPERATOR_SET:
        raise StepError(
            f"the post-processing needs operator set {LEAST_OPERATOR_SET}, the model has {operator_set}",
            fix=f"export the model with operator set {LEAST_OPERATOR_SET} or later",
        )
    nodes = _Nodes(operator_set)
    choose = {"yolo": _suppressed, "end2end": _rows_above}[rows.decode]
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


def _threshold_values(nodes: _Nodes, thresholds: Thresholds) -> tuple[str, str, str]:
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


class _Nodes:
    """Collects nodes and constants."""

    def __init__(self, operator_set: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._operator_set = operator_set

    def put(self, node: onnx.NodeProto) -> None:
        self.nodes.append(node)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of one output and returns the name of that."""
        return self.split(operator, *inputs, outputs=1, **attributes)[0]

    def split(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Adds a node and returns the names of its outputs."""
        name = f"{PREFIX}/{operator}_{len(self.nodes)}"
        names = [f"{name}:{number}" for number in range(outputs)]
        self.put(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return names

    def constant(self, value: np.ndarray) -> str:
        name = f"{PREFIX}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def whole(self, *values: int) -> str:
        """Adds whole numbers, (count,) int64."""
        return self.constant(np.array(values, np.int64))

    def parts(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Splits a tensor along an axis into parts of some sizes; sizes of 0 are left out."""
        sizes = [size for size in sizes if size]
        return self.split("Split", value, self.whole(*sizes), outputs=len(sizes), axis=axis)

    def largest(self, value: str, axis: int) -> str:
        """Returns the largest values along an axis, which stays with a length of 1."""
        if self._operator_set < 18:
            return self.add("ReduceMax", value, axes=[axis], keepdims=1)
        return self.add("ReduceMax", value, self.whole(axis), keepdims=1)

    def side(self, value: str, axis: int) -> str:
        """Returns the length of an axis, (1,) int64."""
        return self.add("Gather", self.add("Shape", value), self.whole(axis), axis=0)

    def reshape(self, value: str, *shape: int) -> str:
        return self.add("Reshape", value, self.whole(*shape))


@dataclass(frozen=True)
class _Chosen:
    """What was chosen of each picture, and the numbers to choose from.

    Attributes:
        index: (n, max_det) int64, into `values`: the chosen rows, best first, and anything behind them.
        counts: (n, 1) int64, how many rows were chosen.
        values: output to the numbers of all rows of all pictures, (n * rows, ...).
    """

    index: str
    counts: str
    values: dict[str, str]


def _suppressed(nodes: _Nodes, rows: Rows, values: tuple[str, str, str], width: int) -> _Chosen:
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
    own = nodes.reshape(_numbers_to(nodes, nodes.side(RAW, 0)), -1, 1)
    of_pictures = nodes.reshape(pictures, 1, -1)
    counts = _count(nodes, nodes.add("Equal", of_pictures, own))
    first = _count(nodes, nodes.add("Less", of_pictures, own))
    slots = nodes.constant(np.arange(width, dtype=np.int64)[None])
    zero = nodes.whole(0)
    place = nodes.add("Where", nodes.add("Less", slots, counts), nodes.add("Add", first, slots), zero)
    index = nodes.add("Gather", nodes.add("Concat", nodes.reshape(flat, -1), zero, axis=0), place, axis=0)
    return _Chosen(index, counts, columns)


def _rows_above(nodes: _Nodes, rows: Rows, values: tuple[str, str, str], width: int) -> _Chosen:
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
    own = nodes.reshape(_numbers_to(nodes, nodes.side(RAW, 0)), -1, 1)
    index = nodes.add("Add", first, nodes.add("Mul", own, nodes.whole(count)))
    columns = {
        BOXES: nodes.reshape(boxes, -1, 4),
        SCORES: nodes.reshape(scores, -1),
        CLASSES: nodes.add("Cast", nodes.reshape(classes, -1), to=INT64),
    }
    if extras:
        columns[BESIDE] = nodes.reshape(extras[0], -1, rows.extras)
    return _Chosen(index, nodes.add("Min", _count(nodes, above), most), columns)


def _padded(nodes: _Nodes, chosen: _Chosen, width: int) -> dict[str, str]:
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


def _numbers_to(nodes: _Nodes, count: str) -> str:
    """Returns 0, 1, ... up to a count, (count,) int64."""
    first, step = (nodes.constant(np.array(value, np.int64)) for value in (0, 1))
    return nodes.add("Range", first, nodes.add("Squeeze", count, nodes.whole(0)), step)


def _count(nodes: _Nodes, true: str) -> str:
    """Returns how many values of each row are true, (n, 1) int64."""
    return nodes.add("ReduceSum", nodes.add("Cast", true, to=INT64), nodes.whole(1), keepdims=1)
