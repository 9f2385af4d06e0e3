"""Offsets from anchors, objectness and class scores: the heads of YOLOv5 and YOLOv7 without their decode, in feature
maps or in the rows of all of them. A centre moves by up to a cell and a half; a size is up to 4 times the anchor's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = (
    "of each feature map (n, anchors, rows, columns, 5 + classes) or (n, anchors * (5 + classes), rows, columns), or "
    "all of them as (n, anchors of all cells, 5 + classes): centre, size, objectness, class scores"
)
DECODE = "yolo"
BY_NUMBERS = False
OPTIONS = frozenset({"anchors", "activation", "strides"})

USUAL_ANCHORS = 3
"""Anchors of a cell where none are stated."""
STRIDES = (8, 16, 32, 64, 128)
"""Of feature maps in one output, as many as there are anchors of, where none are stated."""


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    anchors = hints.options.get("anchors", [])
    count = len(anchors[0]) // 2 if anchors else USUAL_ANCHORS
    strides = [_stride(output.shape, count, hints) for output in outputs]
    levels = sorted((stride, place) for place, stride in enumerate(strides) if stride)
    widths = {_values(outputs[place].shape, count) for _, place in levels}
    if levels and len(widths) == 1 and len({stride for stride, _ in levels}) == len(levels):
        return Match(widths.pop() - 5, tuple(place for _, place in levels))
    rows = count * _boxes_of.points(hints.size, _strides_of_rows(hints))
    for place, output in enumerate(outputs):
        if len(output.shape) == 3 and output.shape[1] == rows and output.shape[2] > 5:
            return Match(output.shape[2] - 5, (place,))
    return None


def _strides_of_rows(hints: Hints) -> Sequence[int]:
    return hints.options.get("strides", STRIDES[: len(hints.options.get("anchors", STRIDES[:3]))])


def _stride(shape: Shape, anchors: int, hints: Hints) -> int:
    """Returns the stride of a feature map, pixels; 0 where a shape is none of such a map."""
    is_map = (len(shape) == 5 and shape[1] == anchors) or (len(shape) == 4 and shape[1] % anchors == 0)
    if not is_map or _values(shape, anchors) <= 5:
        return 0
    rows, columns = shape[2:4]
    stride = hints.size[0] // rows
    return stride if (rows * stride, columns * stride) == tuple(hints.size) else 0


def _values(shape: Shape, anchors: int) -> int:
    """Returns how many numbers an anchor of a cell has."""
    return shape[4] if len(shape) == 5 else shape[1] // anchors


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    anchors = hints.options.get("anchors")
    if anchors is None:
        return "its anchors are not stated: take a family that has them, or state outputs.anchors"
    levels = len(outputs) if outputs[0].ndim > 3 else len(_strides_of_rows(hints))
    if len(anchors) != levels:
        return f"it has {levels} feature maps, and outputs.anchors those of {len(anchors)}"
    if said := next((said for output in outputs if (said := _evidence.of_finite(output))), ""):
        return said
    within = all(not _evidence.of_scores(output) for output in outputs)
    if hints.options.get("activation", "sigmoid") == "sigmoid":
        return "its numbers lie in 0 to 1, so the sigmoid is in it: state outputs.activation=none" if within else ""
    return "" if within else "its numbers leave 0 to 1: state outputs.activation=sigmoid"


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    anchors = [np.reshape(sides, (-1, 2)) for sides in hints.options["anchors"]]
    if len(shapes[0]) == 3:
        strides = _strides_of_rows(hints)
        columns = behind.one("Transpose", behind.outputs[0], perm=[0, 2, 1])
    else:
        strides = [hints.size[0] // shape[2] for shape in shapes]
        levels = zip(behind.outputs, shapes, anchors, strict=True)
        columns = behind.joined([_columns(behind, output, shape, len(pairs)) for output, shape, pairs in levels], 2)
    values = behind.activated(columns, hints.options.get("activation", "sigmoid"), 1)
    centre, size, objectness, scores = behind.split(values, [2, 2, 1, classes], 1)
    places, cells, widths = _anchors_of_cells(behind, hints, strides, anchors)
    doubled = behind.one("Mul", centre, behind.numbers(2.0))
    moved = behind.one("Add", behind.one("Sub", doubled, behind.numbers(0.5)), places)
    middle = behind.one("Mul", moved, cells)
    twice = behind.one("Mul", size, behind.numbers(2.0))
    sides = behind.one("Mul", behind.one("Mul", twice, twice), widths)
    return behind.one("Concat", middle, sides, behind.one("Mul", scores, objectness), axis=1)


def _columns(behind: Behind, output: str, shape: Shape, anchors: int) -> str:
    """Returns a feature map as (n, 5 + classes, anchors of all cells), the cells of the first anchor first."""
    if len(shape) == 5:
        moved = behind.one("Transpose", output, perm=[0, 4, 1, 2, 3])
        return behind.one("Reshape", moved, behind.constant([0, shape[4], -1]))
    values = shape[1] // anchors
    split = behind.one("Reshape", output, behind.constant([0, anchors, values, -1]))
    moved = behind.one("Transpose", split, perm=[0, 2, 1, 3])
    return behind.one("Reshape", moved, behind.constant([0, values, -1]))


def _anchors_of_cells(
    behind: Behind, hints: Hints, strides: Sequence[int], anchors: Sequence[np.ndarray]
) -> tuple[str, str, str]:
    """Returns of each anchor of each cell column and row (1, 2, k), stride (1, 1, k), and width and height in pixels
    (1, 2, k).

    Args:
        anchors: of each feature map (count, 2), pixels.
    """
    places, cells, widths = [], [], []
    for stride, pairs in zip(strides, anchors, strict=True):
        place, cell = _boxes_of.placed_cells(behind, hints, [stride])
        times = behind.constant([1, 1, len(pairs)])
        places.append(behind.one("Tile", place, times))
        cells.append(behind.one("Tile", cell, times))
        shares = behind.numbers((pairs / stride).T[None, :, :, None])
        grown = behind.one("Mul", behind.one("Unsqueeze", cell, behind.constant([1])), shares)
        widths.append(behind.one("Reshape", grown, behind.constant([1, 2, -1])))
    return behind.joined(places, 2), behind.joined(cells, 2), behind.joined(widths, 2)
