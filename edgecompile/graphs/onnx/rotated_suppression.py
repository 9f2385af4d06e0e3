"""Suppression of rotated boxes as nodes of a graph.

ONNX has no operator for it. The rule needs none: a box is dropped where any better one, kept or not, is too much like
it, so each is judged by itself. The arithmetic is that of `edgecompile.runtime.tasks._rotated`, in float32 and in its
order. A loop over blocks of boxes, the best first, bounds the memory; it ends where enough are kept on every picture.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edgecompile.graphs.onnx.node_list import FLOAT, INT64, NodeList
from edgecompile.graphs.onnx.row_choice import RAW, ChosenRows, Rows, count_true, numbers_of_pictures, numbers_to
from edgecompile.runtime.tasks._boxes import CLASS_OFFSET
from edgecompile.runtime.tasks._object_rows import BESIDE, BOXES, CLASSES, SCORES
from edgecompile.runtime.tasks._rotated import BLOCK, EPSILON, MOST_DISTANCE

SPREAD = 5
"""Numbers by which a box is judged: mean x and y, variances of x and y, covariance; see `_rotated.Spreads`."""


def suppressed_rotated(nodes: NodeList, rows: Rows, values: tuple[str, str, str], width: int) -> ChosenRows:
    """Suppresses boxes of (n, 4 + classes + 1, anchors), of which the last value is the angle.

    Args:
        values: names of the lowest score, the largest likeness, the most boxes.
        width: how many boxes are chosen at most.
    """
    conf, iou, most = values
    boxes, scores, angles = nodes.parts(RAW, [4, rows.classes, 1], axis=1)
    best = nodes.largest(scores, axis=1)
    classes = nodes.add("ArgMax", scores, axis=1, keepdims=1)
    order, above = _best_first(nodes, best, conf, width)  # (n, 1, k): the first k anchors by score
    columns = [*nodes.parts(boxes, [1, 1, 1, 1], axis=1), angles]
    x, y, wide, high, angle = (nodes.add("GatherElements", column, order, axis=2) for column in columns)
    if not rows.class_agnostic:
        numbers = nodes.add("Cast", nodes.add("GatherElements", classes, order, axis=2), to=FLOAT)
        offset = nodes.add("Mul", numbers, _number(nodes, CLASS_OFFSET))
        x, y = nodes.add("Add", x, offset), nodes.add("Add", y, offset)
    kept = _kept(nodes, _spreads(nodes, x, y, wide, high, angle), above, iou, most)
    counts = nodes.add("Min", count_true(nodes, kept), most)
    slots = nodes.constant(np.arange(width, dtype=np.int64)[None])
    filled = nodes.add("Less", slots, counts)
    place = nodes.add("Where", filled, _first_true(nodes, kept, width), nodes.whole(0))
    anchors = nodes.add("GatherElements", nodes.add("Squeeze", order, nodes.whole(1)), place, axis=1)
    index = nodes.add("Add", nodes.add("Mul", numbers_of_pictures(nodes), nodes.side(best, 2)), anchors)
    return ChosenRows(
        index,
        counts,
        {
            BOXES: nodes.reshape(nodes.add("Transpose", boxes, perm=[0, 2, 1]), -1, 4),
            SCORES: nodes.reshape(best, -1),
            CLASSES: nodes.reshape(classes, -1),
            BESIDE: nodes.reshape(angles, -1, 1),
        },
    )


def _best_first(nodes: NodeList, best: str, conf: str, width: int) -> tuple[str, str]:
    """Returns the anchors with the best scores, (n, 1, k) int64, and which of them count, bool. There are as many as
    count on the picture where most do, at least `width`, and a whole number of blocks."""
    counting = nodes.add("Greater", best, conf)
    counts = count_true(nodes, nodes.add("Squeeze", counting, nodes.whole(1)))
    least = nodes.add("Max", nodes.reshape(nodes.largest(counts, axis=0), 1), nodes.whole(width))
    blocks = nodes.add("Div", nodes.add("Add", least, nodes.whole(BLOCK - 1)), nodes.whole(BLOCK))
    none = _number(nodes, -1)
    masked = nodes.add("Where", counting, best, none)
    padded = nodes.add("Pad", masked, nodes.whole(0, 0, 0, 0, 0, width + BLOCK - 1), none)
    count = nodes.add("Mul", blocks, nodes.whole(BLOCK))
    scores, order = nodes.split("TopK", padded, count, outputs=2, axis=2)
    above = nodes.add("Greater", scores, conf)
    return nodes.add("Where", above, order, nodes.whole(0)), above


def _spreads(nodes: NodeList, x: str, y: str, wide: str, high: str, angle: str) -> str:
    """Returns boxes as normal distributions, (n, SPREAD, k)."""
    twelve = _number(nodes, 12)
    a, b = (nodes.add("Div", nodes.add("Mul", side, side), twelve) for side in (wide, high))
    cos, sin = nodes.add("Cos", angle), nodes.add("Sin", angle)
    cos2, sin2 = nodes.add("Mul", cos, cos), nodes.add("Mul", sin, sin)
    along = nodes.add("Add", nodes.add("Mul", a, cos2), nodes.add("Mul", b, sin2))
    across = nodes.add("Add", nodes.add("Mul", a, sin2), nodes.add("Mul", b, cos2))
    turned = nodes.add("Mul", nodes.add("Mul", nodes.add("Sub", a, b), cos), sin)
    return nodes.add("Concat", x, y, along, across, turned, axis=1)


def _kept(nodes: NodeList, spreads: str, above: str, iou: str, most: str) -> str:
    """Returns which boxes are like no better one by more than `iou`, (n, j) bool: of so many that `most` are kept on
    every picture, or of all."""
    by_rank = nodes.add("Transpose", spreads, perm=[0, 2, 1])
    none_yet = nodes.add("Mul", numbers_of_pictures(nodes), nodes.whole(0))
    trips = nodes.add("Squeeze", nodes.add("Div", nodes.side(spreads, 2), nodes.whole(BLOCK)), nodes.whole(0))
    body = _block_judged(nodes.within("block"), spreads, by_rank, above, iou, most)
    _, by_block = nodes.split("Loop", trips, "", none_yet, outputs=2, body=body)  # (blocks, n, BLOCK)
    rows = nodes.reshape(nodes.add("Transpose", by_block, perm=[1, 0, 2]), 0, -1)
    return nodes.add("Greater", rows, _number(nodes, 0.5))


def _block_judged(nodes: NodeList, spreads: str, by_rank: str, above: str, iou: str, most: str) -> onnx.GraphProto:
    """Returns the body of the loop: which boxes of a block are kept, (n, BLOCK), 1 or 0."""
    start = nodes.add("Mul", "block_number", nodes.constant(np.array(BLOCK, np.int64)))
    own = nodes.add("Add", start, nodes.constant(np.arange(BLOCK, dtype=np.int64)))  # ranks of the block
    block = nodes.parts(nodes.add("Gather", spreads, own, axis=2), [1] * SPREAD, axis=1)  # (n, 1, BLOCK) each
    end = nodes.add("Add", nodes.reshape(start, 1), nodes.whole(BLOCK))
    first = nodes.add("Slice", by_rank, nodes.whole(0), end, nodes.whole(1))
    better = nodes.parts(first, [1] * SPREAD, axis=2)  # (n, end, 1) each
    ranks = nodes.reshape(numbers_to(nodes, end), -1, 1)
    alike = nodes.add("Greater", _likeness(nodes, better, block), iou)
    counting = nodes.add("Cast", nodes.add("And", alike, nodes.add("Less", ranks, own)), to=FLOAT)
    dropped = nodes.add("Greater", nodes.largest(counting, axis=1), _number(nodes, 0.5))
    kept = nodes.add("And", nodes.add("Gather", above, own, axis=2), nodes.add("Not", dropped))
    flat = nodes.add("Squeeze", kept, nodes.whole(1))
    counts = nodes.add("Add", "counts_before", count_true(nodes, flat))
    least = nodes.add("Neg", nodes.largest(nodes.add("Neg", counts), axis=0))
    go_on = nodes.add("Squeeze", nodes.add("Less", nodes.reshape(least, 1), most), nodes.whole(0))
    found = nodes.add("Cast", flat, to=FLOAT)
    boolean = onnx.TensorProto.BOOL
    return helper.make_graph(
        nodes.nodes,
        "block",
        [
            helper.make_tensor_value_info("block_number", INT64, []),
            helper.make_tensor_value_info("go_on_before", boolean, []),
            helper.make_tensor_value_info("counts_before", INT64, [None, 1]),
        ],
        [
            helper.make_tensor_value_info(go_on, boolean, []),
            helper.make_tensor_value_info(counts, INT64, [None, 1]),
            helper.make_tensor_value_info(found, FLOAT, [None, BLOCK]),
        ],
    )


def _likeness(nodes: NodeList, first: list[str], second: list[str]) -> str:
    """Returns how much distributions are alike, each of `first` with each of `second`; see `_rotated.likeness`."""

    def add(one: str, other: str) -> str:
        return nodes.add("Add", one, other)

    def less(one: str, other: str) -> str:
        return nodes.add("Sub", one, other)

    def times(one: str, other: str) -> str:
        return nodes.add("Mul", one, other)

    def area(spread: list[str]) -> str:
        own = less(times(spread[2], spread[3]), times(spread[4], spread[4]))
        return nodes.add("Max", own, _number(nodes, 0))

    epsilon, one = nodes.constant(np.array(EPSILON)), _number(nodes, 1)
    a, b, c = (add(*pair) for pair in zip(first[2:], second[2:], strict=True))
    product = less(times(a, b), times(c, c))
    divisor = add(product, epsilon)
    right, down = less(first[0], second[0]), less(first[1], second[1])
    left = less(second[0], first[0])
    apart = add(times(a, times(down, down)), times(b, times(right, right)))
    near = times(nodes.add("Div", apart, divisor), _number(nodes, 0.25))
    turned = times(nodes.add("Div", times(times(c, left), down), divisor), _number(nodes, 0.5))
    root = nodes.add("Sqrt", times(area(first), area(second)))
    ratio = nodes.add("Div", product, add(times(_number(nodes, 4), root), epsilon))
    shaped = times(nodes.add("Log", add(ratio, epsilon)), _number(nodes, 0.5))
    distance = nodes.add("Clip", add(add(near, turned), shaped), epsilon, nodes.constant(np.array(MOST_DISTANCE)))
    return less(one, nodes.add("Sqrt", add(less(one, nodes.add("Exp", nodes.add("Neg", distance))), epsilon)))


def _first_true(nodes: NodeList, true: str, width: int) -> str:
    """Returns the places of the first true values of each row of (n, j), (n, width), and any behind them."""
    count = nodes.side(true, 1)
    falling = nodes.add("Cast", nodes.add("Sub", count, numbers_to(nodes, count)), to=FLOAT)
    keys = nodes.add("Where", true, falling, _number(nodes, 0))
    padded = nodes.add("Pad", keys, nodes.whole(0, 0, 0, width))
    return nodes.split("TopK", padded, nodes.whole(width), outputs=2, axis=1)[1]


def _number(nodes: NodeList, value: float) -> str:
    return nodes.constant(np.array(value, np.float32))
