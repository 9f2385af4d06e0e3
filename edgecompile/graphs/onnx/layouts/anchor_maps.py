"""Feature maps of offsets from anchors, objectness and class scores: the heads of YOLOv5 and YOLOv7 without their
decode. A centre moves by up to one cell and a half; a size is that of the anchor times up to 4."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = (
    "of each feature map (n, anchors, rows, columns, 5 + classes) or (n, anchors * (5 + classes), rows, columns): "
    "centre, size, objectness, class scores"
)
DECODE = "yolo"
BY_NUMBERS = False
OPTIONS = frozenset({"anchors", "activation"})

USUAL_ANCHORS = 3
"""Anchors of a cell where none are stated."""


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    anchors = hints.options.get("anchors", [])
    count = len(anchors[0]) // 2 if anchors else USUAL_ANCHORS
    levels = [
        (stride, place) for place, output in enumerate(outputs) if (stride := _stride(output.shape, count, hints))
    ]
    widths = {_values(outputs[place].shape, count) for _, place in levels}
    if not levels or len(widths) > 1 or len({stride for stride, _ in levels}) < len(levels):
        return None
    return Match(widths.pop() - 5, tuple(place for _, place in sorted(levels)))


def _stride(shape: Shape, anchors: int, hints: Hints) -> int:
    """Returns the stride of a feature map, pixels; 0 where a shape is none of such a map."""
    if len(shape) == 5:
        rows, columns = shape[2:4] if shape[1] == anchors else (0, 0)
    elif len(shape) == 4:
        rows, columns = shape[2:4] if shape[1] % anchors == 0 else (0, 0)
    else:
        return 0
    if _values(shape, anchors) <= 5 or not rows or hints.size[0] % rows or hints.size[1] % columns:
        return 0
    stride = hints.size[0] // rows
    return stride if stride == hints.size[1] // columns else 0


def _values(shape: Shape, anchors: int) -> int:
    """Returns how many numbers an anchor of a cell has."""
    return shape[4] if len(shape) == 5 else shape[1] // anchors


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    anchors = hints.options.get("anchors")
    if anchors is None:
        return "its anchors are not stated: take a family that has them, or state outputs.anchors"
    if len(anchors) != len(outputs):
        return f"it has {len(outputs)} feature maps, and outputs.anchors those of {len(anchors)}"
    if said := next((said for output in outputs if (said := _evidence.of_finite(output))), ""):
        return said
    within = all(not _evidence.of_scores(output) for output in outputs)
    if hints.options.get("activation", "sigmoid") == "sigmoid":
        return "its numbers lie in 0 to 1, so the sigmoid is in it: state outputs.activation=none" if within else ""
    return "" if within else "its numbers leave 0 to 1: state outputs.activation=sigmoid"


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    levels = [
        _decoded(behind, output, shape, np.reshape(anchors, (-1, 2)), classes, hints)
        for output, shape, anchors in zip(behind.outputs, shapes, hints.options["anchors"], strict=True)
    ]
    return behind.joined(levels, 2)


def _decoded(behind: Behind, output: str, shape: Shape, anchors: np.ndarray, classes: int, hints: Hints) -> str:
    """Returns the boxes and scores of a feature map, (n, 4 + classes, anchors of all cells).

    Args:
        anchors: (anchors, 2), width and height in pixels.
    """
    stride = hints.size[0] // shape[2]
    if len(shape) == 5:
        output = behind.one("Transpose", output, perm=[0, 1, 4, 2, 3])
    flat = behind.one("Reshape", output, behind.constant([0, len(anchors), 5 + classes, -1]))
    values = behind.activated(flat, hints.options.get("activation", "sigmoid"), 2)
    centre, size, objectness, scores = behind.split(values, [2, 2, 1, classes], 2)
    places, _ = _boxes_of.placed_cells(behind, hints, [stride])
    doubled = behind.one("Mul", centre, behind.numbers(2.0))
    moved = behind.one("Add", behind.one("Sub", doubled, behind.numbers(0.5)), places)
    middle = behind.one("Mul", moved, behind.numbers(float(stride)))
    twice = behind.one("Mul", size, behind.numbers(2.0))
    sides = behind.one("Mul", behind.one("Mul", twice, twice), behind.numbers(anchors[:, :, None]))
    rows = behind.one("Concat", middle, sides, behind.one("Mul", scores, objectness), axis=2)
    columns = behind.one("Transpose", rows, perm=[0, 2, 1, 3])
    return behind.one("Reshape", columns, behind.constant([0, 4 + classes, -1]))
