"""Reads YOLO label files the way Ultralytics reads them, except that a malformed one is an error, not a warning.

Source of the format and of its checks: `ultralytics.data.utils.verify_image_label`, ultralytics 8.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecompile.errors import RecipeError

TOLERANCE = 0.01
"""How far a coordinate may lie outside the picture, as a share of its side."""


@dataclass(frozen=True)
class Labels:
    """The objects of one picture: `classes` (n,) int64 and `boxes` (n, 4) float32, x1, y1, x2, y2 as shares of it."""

    classes: np.ndarray
    boxes: np.ndarray

    def in_pixels(self, width: int, height: int) -> np.ndarray:
        """Returns the boxes in pixels of a picture of that size."""
        return self.boxes * np.array([width, height, width, height], np.float32)


def read_labels(path: Path, classes: int) -> Labels:
    """Reads the labels of one picture. A missing or an empty file is a picture without objects.

    A line is `class x y width height` (centre and size) or `class x1 y1 x2 y2 x3 y3 ...` (a polygon, of which the box
    around it counts). Lines that repeat another are dropped.

    Raises:
        RecipeError: for a malformed line, with `file:line`.
    """
    if not path.is_file():
        return _labels(np.zeros((0, 5), np.float32))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise RecipeError("labels are not UTF-8 text", where=str(path)) from None
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        return _labels(np.zeros((0, 5), np.float32))
    polygons = any(len(fields) > 6 for _, fields in lines)
    values = [_checked(path, number, fields, classes, polygons) for number, fields in lines]
    rows = np.stack([_row(one) for one in values])
    _, kept = np.unique(rows, axis=0, return_index=True)
    if len(kept) < len(rows) and polygons:  # two polygons may share one box
        _, kept = np.unique(np.array([one.tobytes() for one in values], dtype=object), return_index=True)
    return _labels(rows[kept] if len(kept) < len(rows) else rows)


def _checked(path: Path, number: int, fields: list[str], classes: int, polygon: bool) -> np.ndarray:
    """Returns the numbers of one line, or raises RecipeError saying what is wrong with it."""

    def wrong(message: str) -> RecipeError:
        return RecipeError(message, where=f"{path}:{number}")

    if polygon and (len(fields) < 7 or len(fields) % 2 == 0):
        raise wrong(f"{len(fields)} values; a polygon has a class and at least three points, and no boxes beside it")
    if not polygon and len(fields) != 5:
        raise wrong(f"{len(fields)} values; a label has 5: class x y width height")
    try:
        values = np.array(fields, dtype=np.float32)
    except ValueError:
        raise wrong(f"'{' '.join(fields)[:60]}' is not a row of numbers") from None
    if values[0] % 1 or not 0 <= values[0] < classes:
        raise wrong(f"class {fields[0]} is not one of 0 to {classes - 1}")
    outside = values[1:][~((values[1:] >= -TOLERANCE) & (values[1:] <= 1 + TOLERANCE))]
    if len(outside):
        raise wrong(f"coordinate {outside[0]:g} lies outside the picture (coordinates are shares, from 0 to 1)")
    if not polygon and values[3:].min() < 0:
        raise wrong(f"width or height {values[3:].min():g} is negative")
    return values


def _row(values: np.ndarray) -> np.ndarray:
    """Returns class, x, y, width, height of a line's numbers."""
    if len(values) == 5:
        return values
    points = values[1:].reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    return np.concatenate((values[:1], (low + high) / 2, high - low)).astype(np.float32)


def _labels(rows: np.ndarray) -> Labels:
    centre, half = rows[:, 1:3], rows[:, 3:5] / 2
    return Labels(rows[:, 0].astype(np.int64), np.concatenate((centre - half, centre + half), 1))
