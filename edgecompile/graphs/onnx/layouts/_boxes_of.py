"""Nodes that turn what foreign models say of a box into what the runtime reads, and the grids that they count from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts._nodes import Behind

MOST_ROWS = 300
"""Rows of an output that needs no suppression: as many as Ultralytics' NMS-free heads put out."""


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


def strides_of(counts: Sequence[int], size: Sequence[int]) -> tuple[int, ...] | None:
    """Returns the strides of feature maps that have `counts` cells each; None where no power of two fits."""
    found = []
    for count in counts:
        fitting = [stride for stride in (4, 8, 16, 32, 64, 128, 256) if np.prod(cells(size, stride)) == count]
        if not fitting:
            return None
        found.append(fitting[0])
    return tuple(found)


def centres(behind: Behind, boxes: str, kind: str, axis: int, scale: Sequence[int] | None) -> str:
    """Returns boxes as centre x, y, width, height in pixels.

    Args:
        boxes: four numbers along `axis`, as `kind` says: "corners", "corners_yx", "centres".
        scale: height and width that fractions are multiplied with; None for pixels.
    """
    if kind == "corners_yx":
        boxes = behind.one("Gather", boxes, behind.constant([1, 0, 3, 2]), axis=axis)
    if scale is not None:
        factors = np.array([scale[1], scale[0]] * 2)
        boxes = behind.one("Mul", boxes, behind.numbers(factors[:, None] if axis == 1 else factors))
    if kind == "centres":
        return boxes
    first, second = behind.split(boxes, [2, 2], axis)
    middle = behind.one("Mul", behind.one("Add", first, second), behind.numbers(0.5))
    return behind.one("Concat", middle, behind.one("Sub", second, first), axis=axis)


def corners(behind: Behind, boxes: str, kind: str, scale: Sequence[int] | None) -> str:
    """Returns boxes (n, rows, 4) as x1 y1 x2 y2 in pixels; arguments as `centres`."""
    if kind == "corners_yx":
        boxes = behind.one("Gather", boxes, behind.constant([1, 0, 3, 2]), axis=2)
    if scale is not None:
        boxes = behind.one("Mul", boxes, behind.numbers([scale[1], scale[0]] * 2))
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
    """Returns rows (n, any number, 6) as (n, `MOST_ROWS`, 6): the first of them, the rest zeros."""
    shape = behind.one("Shape", rows)
    count = behind.one("Gather", shape, behind.constant([0]))
    padding = behind.one("Concat", count, behind.constant([MOST_ROWS]), behind.constant([6]), axis=0)
    zeros = behind.one("Expand", behind.numbers(np.zeros((1, 1, 1))), padding)
    padded = behind.one("Concat", rows, zeros, axis=1)
    ends = [behind.constant([0]), behind.constant([MOST_ROWS]), behind.constant([1])]
    return behind.one("Slice", padded, *ends)
