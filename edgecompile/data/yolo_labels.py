"""YOLO label files: where the file of a picture lies, what a line may hold, and what all lines mean.

The rules are those of Ultralytics (`ultralytics.data.utils.verify_image_label`, 8.4), which drops a picture whose
labels break them; here they are errors, because a validation set that shrinks silently proves nothing. Checking needs
no array library, so that `plan` reports a malformed line before anything runs.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.errors import Problem, RecipeError
from edgecompile.places import shown

if TYPE_CHECKING:
    import numpy as np

TOLERANCE = 0.01
"""How far a coordinate may lie outside the picture, as a share of its side."""

LARGEST = 64 << 20
"""Bytes of a label file: about a million objects."""

Line = tuple[int, list[str]]
"""Number of a line in its file, from 1, and its fields."""


@dataclass(frozen=True)
class Labels:
    """The objects of one picture: `classes` (n,) int64 and `boxes` (n, 4) float32, x1, y1, x2, y2 as shares of it."""

    classes: np.ndarray
    boxes: np.ndarray

    def in_pixels(self, width: int, height: int) -> np.ndarray:
        """Returns the boxes in pixels of a picture of that size."""
        import numpy as np

        return self.boxes * np.array([width, height, width, height], np.float32)


@dataclass(frozen=True)
class CheckedLabels:
    """What a label file holds, or what is wrong with it.

    Attributes:
        objects: number of its lines, without those that repeat another line.
        widths: numbers of values of the lines that are polygons.
        maybe_poses: number of polygons that may also be a box with key points in it.
    """

    objects: int
    problems: tuple[Problem, ...] = ()
    widths: frozenset[int] = frozenset()
    maybe_poses: int = 0


def label_path(picture: str) -> str:
    """Returns the label file of a picture: the last folder named `images` becomes `labels`, the suffix `.txt`."""
    before, between, after = picture.rpartition(f"{os.sep}images{os.sep}")
    moved = f"{before}{os.sep}labels{os.sep}{after}" if between else picture
    return os.path.splitext(moved)[0] + ".txt"


def check_labels(file: str | Path, classes: int) -> CheckedLabels:
    """Returns what a label file holds and what is wrong with it. A missing file is a picture without objects."""
    try:
        lines = _lines(file)
    except RecipeError as error:
        return CheckedLabels(0, error.problems)
    polygons = _are_polygons(lines)
    rows, problems = set(), []
    for number, fields in lines:
        values, fault = _numbers(fields, classes, polygons)
        rows.add(array("f", values).tobytes())
        if fault:
            problems.append(Problem(fault, f"{shown(file)}:{number}"))
    if problems or not polygons:
        return CheckedLabels(0 if problems else len(rows), tuple(problems))
    distinct = [array("f", row) for row in rows]
    return CheckedLabels(len(rows), (), frozenset(map(len, distinct)), sum(map(_is_maybe_pose, distinct)))


def read_labels(file: Path, classes: int) -> Labels:
    """Reads the labels of one picture. A missing or an empty file is a picture without objects.

    Drops lines that repeat another line. Of a polygon, the box around it counts.

    Raises:
        RecipeError: with a problem for each malformed line.
    """
    import numpy as np

    if problems := check_labels(file, classes).problems:
        raise RecipeError(problems)
    values = [np.array(fields, dtype=np.float32) for _, fields in _lines(file)]
    if not values:
        return _labels(np.zeros((0, 5), np.float32))
    rows = np.stack([_row(line) for line in values])
    _, kept = np.unique(rows, axis=0, return_index=True)
    if len(kept) < len(rows) and len(values[0]) > 5:  # two polygons may share one box
        _, kept = np.unique(np.array([line.tobytes() for line in values], dtype=object), return_index=True)
    return _labels(rows[kept] if len(kept) < len(rows) else rows)


def _lines(file: str | Path) -> list[Line]:
    """Returns the lines of a label file that hold something; none where there is no file."""
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            fault = "is not a regular file" if status.st_size <= LARGEST else f"is larger than {LARGEST >> 20} MiB"
            raise RecipeError(f"a label file that {fault} is not read", where=shown(file))
        with open(file, encoding="utf-8-sig") as stream:
            text = stream.read()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise RecipeError("labels are not UTF-8 text", where=shown(file)) from None
    except OSError as error:
        raise RecipeError(f"labels cannot be read: {error.strerror or error}", where=shown(file)) from error
    return [(number, fields) for number, line in enumerate(text.splitlines(), 1) if (fields := line.split())]


def _are_polygons(lines: list[Line]) -> bool:
    """Returns whether the lines of a file are polygons: `class x1 y1 x2 y2 x3 y3 ...`. All are, or none is."""
    return any(len(fields) > 6 for _, fields in lines)


def _numbers(fields: list[str], classes: int, polygon: bool) -> tuple[list[float], str]:
    """Returns the values of one line, and what is wrong with them, or ""."""
    if polygon and (len(fields) < 7 or len(fields) % 2 == 0):
        shape = "expected a class and at least three points, as on the file's other lines"
        return [], f"found {len(fields)} values, {shape}"
    if not polygon and len(fields) != 5:
        return [], f"found {len(fields)} values, expected 5: class x y width height"
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return [], f"found '{' '.join(fields)[:60]}', expected numbers"
    if not values[0].is_integer() or not 0 <= values[0] < classes:
        return [], f"found class {fields[0][:60]}, expected 0 to {classes - 1}"
    for value in values[1:]:
        if not -TOLERANCE <= value <= 1 + TOLERANCE:  # nor is NaN
            return [], f"found the coordinate {value:g}, expected a share of the picture's side, 0 to 1"
    if not polygon and min(values[3:]) < 0:
        return [], f"found the size {min(values[3:]):g}, expected a share of the picture's side, 0 to 1"
    return values, ""


def _is_maybe_pose(values: Sequence[float]) -> bool:
    """Returns whether a line may be class, box and key points in that box, each of x and y, or of a visibility too.

    So do some polygons, but hardly all of a data set.
    """
    x, y, width, height = values[1:5]

    def holds(point: Sequence[float]) -> bool:
        across, down = (abs(a - b) - side / 2 for a, b, side in zip(point, (x, y), (width, height), strict=False))
        return max(across, down) <= TOLERANCE or max(point[:2]) == 0

    inside = all(a - s / 2 >= -TOLERANCE and a + s / 2 <= 1 + TOLERANCE for a, s in ((x, width), (y, height)))
    rest = values[5:]
    pairs = [rest[at : at + 2] for at in range(0, len(rest), 2)] if len(rest) % 2 == 0 else []
    triples = [rest[at : at + 3] for at in range(0, len(rest), 3)] if len(rest) % 3 == 0 else []
    seen = triples and all(triple[2] in (0, 1, 2) for triple in triples)
    return inside and ((bool(pairs) and all(map(holds, pairs))) or (bool(seen) and all(map(holds, triples))))


def _row(values: np.ndarray) -> np.ndarray:
    """Returns class, x, y, width, height of a line's numbers."""
    import numpy as np

    if len(values) == 5:
        return values
    points = values[1:].reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    return np.concatenate((values[:1], (low + high) / 2, high - low)).astype(np.float32)


def _labels(rows: np.ndarray) -> Labels:
    import numpy as np

    centre, half = rows[:, 1:3], rows[:, 3:5] / 2
    return Labels(rows[:, 0].astype(np.int64), np.concatenate((centre - half, centre + half), 1))
