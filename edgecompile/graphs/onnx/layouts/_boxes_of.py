"""Nodes that turn what foreign models say of a box into what the runtime reads, and the grids that they count from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, _evidence
from edgecompile.graphs.onnx.layouts._nodes import FLOAT32, Behind

MOST_ROWS = 300
"""Rows of an output that needs no suppression: as many as Ultralytics' NMS-free heads put out."""
OF_ONE_PICTURE = "its rows are those of one picture, and the model takes several at once"


def cells(size: Sequence[int], stride: int) -> tuple[int, int]:
    """Returns rows and columns of a feature map."""
    return -(-size[0] // stride), -(-size[1] // stride)


def points(size: Sequence[int], strides: Sequence[int]) -> int:
    """Returns how many cells the feature maps of pictures of height and width `size` have."""
    return sum(rows * columns for rows, columns in (cells(size, stride) for stride in strides))


def grid(size: Sequence[int], strides: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns of each cell its column and row, (1, 2, cells), and its stride in pixels, (1, 1, cells)."""
    places, widths = [], []
    for stride in strides:
        rows, columns = cells(size, stride)
        y, x = np.mgrid[:rows, :columns]
        places.append(np.stack((x.ravel(), y.ravel())))
        widths.append(np.full(rows * columns, stride))
    return np.concatenate(places, axis=1)[None], np.concatenate(widths)[None, None]


def placed_cells(behind: Behind, hints: Hints, strides: Sequence[int]) -> tuple[str, str]:
    """Returns of each cell its column and row, (1, 2, cells), and its stride in pixels, (1, 1, cells).

    Where the size of pictures varies, these are those of the largest picture, cut to the feature maps of the one given.
    """
    if hints.largest is None:
        places, widths = grid(hints.size, strides)
        return behind.numbers(places), behind.numbers(widths)
    levels = []
    for stride in strides:
        rows, columns = cells(hints.largest, stride)
        y, x = np.mgrid[:rows, :columns]
        whole = behind.numbers(np.stack((x, y, np.full_like(x, stride)))[None])
        sides = behind.one("Concat", behind.input_side(2), behind.input_side(3), axis=0)
        rounded = behind.one("Add", sides, behind.constant(stride - 1))
        ends = behind.one("Div", rounded, behind.constant(stride))
        cut = behind.one("Slice", whole, behind.constant([0, 0]), ends, behind.constant([2, 3]))
        levels.append(behind.one("Reshape", cut, behind.constant([1, 3, -1])))
    first, second = behind.split(behind.joined(levels, 2), [2, 1], 1)
    return first, second


def picture_sides(behind: Behind, hints: Hints, axis: int = -1) -> str:
    """Returns width, height, width, height of the input in pixels: (4,), or (4, 1) for boxes along the axis 1."""
    if hints.largest is None:
        sides = np.array([hints.size[1], hints.size[0]] * 2)
        return behind.numbers(sides[:, None] if axis == 1 else sides)
    whole = behind.one("Concat", *(behind.input_side(side) for side in (3, 2, 3, 2)), axis=0)
    sides_of_input = behind.one("Cast", whole, to=FLOAT32)
    return behind.one("Unsqueeze", sides_of_input, behind.constant([1])) if axis == 1 else sides_of_input


def strides_of(counts: Sequence[int], size: Sequence[int]) -> tuple[int, ...] | None:
    """Returns the strides of feature maps that have `counts` cells each; None where no power of two fits."""
    found = []
    for count in counts:
        fitting = [stride for stride in (4, 8, 16, 32, 64, 128, 256) if np.prod(cells(size, stride)) == count]
        if not fitting:
            return None
        found.append(fitting[0])
    return tuple(found)


def centres(behind: Behind, boxes: str, kind: str, axis: int, scale: str | None) -> str:
    """Returns boxes as centre x, y, width, height in pixels.

    Args:
        boxes: four numbers along `axis`, as `kind` says: "corners", "corners_yx", "centres".
        scale: what `picture_sides` returns, with which fractions are multiplied; None for pixels.
    """
    if kind == "corners_yx":
        boxes = behind.one("Gather", boxes, behind.constant([1, 0, 3, 2]), axis=axis)
    if scale is not None:
        boxes = behind.one("Mul", boxes, scale)
    if kind == "centres":
        return boxes
    first, second = behind.split(boxes, [2, 2], axis)
    middle = behind.one("Mul", behind.one("Add", first, second), behind.numbers(0.5))
    return behind.one("Concat", middle, behind.one("Sub", second, first), axis=axis)


def corners(behind: Behind, boxes: str, kind: str, scale: str | None) -> str:
    """Returns boxes (n, rows, 4) as x1 y1 x2 y2 in pixels; arguments as `centres`."""
    if kind == "corners_yx":
        boxes = behind.one("Gather", boxes, behind.constant([1, 0, 3, 2]), axis=2)
    if scale is not None:
        boxes = behind.one("Mul", boxes, scale)
    if kind != "centres":
        return boxes
    middle, size = behind.split(boxes, [2, 2], 2)
    half = behind.one("Mul", size, behind.numbers(0.5))
    return behind.one("Concat", behind.one("Sub", middle, half), behind.one("Add", middle, half), axis=2)


def best_rows(behind: Behind, boxes: str, scores: str, count: int, classes: int) -> str:
    """Returns the rows x1 y1 x2 y2 score class of the best pairs of box and class, (n, up to `MOST_ROWS`, 6).

    Args:
        boxes: (n, count, 4), corners in pixels.
        scores: (n, count, classes).
    """
    rows = min(MOST_ROWS, count * classes)
    flat = behind.one("Reshape", scores, behind.constant([0, -1]))
    best, places = behind.add("TopK", [flat, behind.constant([rows])], outputs=2, axis=1)
    width = behind.constant(classes)
    boxes_at = behind.one("Unsqueeze", behind.one("Div", places, width), behind.constant([2]))
    chosen = behind.one("GatherElements", boxes, behind.one("Concat", *[boxes_at] * 4, axis=2), axis=1)
    number = behind.one("Sub", places, behind.one("Mul", behind.one("Div", places, width), width))
    column = behind.one("Unsqueeze", behind.one("Cast", number, to=1), behind.constant([2]))
    return behind.one("Concat", chosen, behind.one("Unsqueeze", best, behind.constant([2])), column, axis=2)


def fixed_rows(behind: Behind, rows: str) -> str:
    """Returns rows (n, any number, 6) as (n, `MOST_ROWS`, 6): those of the best scores, the rest zeros."""
    shape = behind.one("Shape", rows)
    count = behind.one("Gather", shape, behind.constant([0]))
    padding = behind.one("Concat", count, behind.constant([MOST_ROWS]), behind.constant([6]), axis=0)
    zeros = behind.one("Expand", behind.numbers(np.zeros((1, 1, 1))), padding)
    padded = behind.one("Concat", rows, zeros, axis=1)
    scores = behind.one("Gather", padded, behind.constant(4), axis=2)
    _, best = behind.add("TopK", [scores, behind.constant([MOST_ROWS])], outputs=2, axis=1)
    places = behind.one("Unsqueeze", best, behind.constant([2]))
    return behind.one("GatherElements", padded, behind.one("Concat", *[places] * 6, axis=2), axis=1)


def row_parts(boxes: np.ndarray, scores: np.ndarray, numbers: np.ndarray, classes: int, hints: Hints) -> str:
    """Doubts that parts of rows are boxes in pixels, corners (rows, 4), scores (rows,) and class numbers (rows,)."""
    real = scores > _evidence.ROUNDING
    return (
        _evidence.of_finite(boxes)
        or _evidence.of_scores(np.maximum(scores, 0))  # -1 stands for no object
        or _evidence.of_class_numbers(numbers[real], classes)
        or _evidence.of_corners(boxes[real], scores[real])
        or _evidence.of_pixels(boxes[real], hints.size)
    )
