"""Lines of labels, whatever file they come from: a class number or name and values, and what is wrong with them.

Each form of labels (boxes, polygons, corners, key points, class names) is a file beside this one, which reads lines of
that form. Checking needs no array library, so that `plan` reports a malformed line before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from edgecompile.errors import Problem, RecipeError
from edgecompile.places import shown

if TYPE_CHECKING:
    import numpy as np

TOLERANCE = 0.01
"""How far a coordinate may lie outside the picture, as a share of its side."""

Fields = Sequence[str] | Sequence[float]
"""What stands on one line: a class, then values."""


class LabelForm(Enum):
    """What a line of labels states of an object: `class x y width height`, or what follows the class instead."""

    BOXES = "boxes"
    POLYGONS = "polygons"
    CORNERS = "corners"
    KEY_POINTS = "key points"
    CLASS_NAME = "class name"


@dataclass(frozen=True)
class LabelFacts:
    """What a data set says of all of its labels.

    Attributes:
        classes: number of classes.
        kpt_shape: number of key points of an object and values of each, 2 or 3; None where labels have none.
        kpt_oks_sigmas: for each key point how far it may be off, where the data set says so; see
            `edgecompile.data.key_point_labels`.
    """

    classes: int
    kpt_shape: tuple[int, int] | None = None
    kpt_oks_sigmas: tuple[float, ...] | None = None


@dataclass(frozen=True)
class LabelLines:
    """The lines of one picture.

    Attributes:
        file: that holds them, for messages.
        lines: of each the place in the file that messages name (a line number, a path in JSON), and its fields.
    """

    file: str
    lines: Sequence[tuple[int | str, Fields]] = ()

    def problem(self, place: int | str, fault: Fault) -> Problem:
        """Returns the problem of a line."""
        return Problem(str(fault), f"{shown(self.file)}:{place}", fault.fix)


@dataclass(frozen=True)
class CheckedLabels:
    """What the lines of a picture hold, or what is wrong with them.

    Attributes:
        objects: number of lines, without those that repeat another line.
        widths: numbers of values of the lines that are polygons.
        maybe_poses: number of polygons that may also be a box with key points in it.
        poses: number of lines with key points of which only the box is read.
    """

    objects: int
    problems: tuple[Problem, ...] = ()
    widths: frozenset[int] = frozenset()
    maybe_poses: int = 0
    poses: int = 0


class Fault(ValueError):
    """What is wrong with one line, and the fix where there is one."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


Parse = Callable[[Fields], list[float]]
"""Returns the values of a line, the class first; raises `Fault`."""


def parsed(lines: LabelLines, parse: Parse) -> tuple[list[list[float]], tuple[Problem, ...]]:
    """Returns the values of each line that is well formed, and the problems of the others."""
    rows, problems = [], []
    for place, fields in lines.lines:
        try:
            rows.append(parse(fields))
        except Fault as fault:
            problems.append(lines.problem(place, fault))
    return rows, tuple(problems)


def parsed_or_error(lines: LabelLines, parse: Parse) -> list[list[float]]:
    """Returns the values of each line.

    Raises:
        RecipeError: with a problem for each malformed line.
    """
    rows, problems = parsed(lines, parse)
    if problems:
        raise RecipeError(problems)
    return rows


def numbers(fields: Fields, classes: int) -> list[float]:
    """Returns a line's values as numbers, the first of which is a class.

    Raises:
        Fault: one is no number, or the class is none of the data set's.
    """
    try:
        values = [float(field) for field in fields]
    except ValueError:
        raise Fault(f"found '{' '.join(map(str, fields))[:60]}', expected numbers") from None
    if not values[0].is_integer() or not 0 <= values[0] < classes:
        raise Fault(f"found class {str(fields[0])[:60]}, expected 0 to {classes - 1}")
    return values


def check_shares(values: Iterable[float]) -> None:
    """Raises:
    Fault: a value is no share of the picture's side, 0..1 up to `TOLERANCE`.
    """
    for value in values:
        if not -TOLERANCE <= value <= 1 + TOLERANCE:  # nor is NaN
            raise Fault(f"found the coordinate {value:g}, expected a share of the picture's side, 0 to 1")


def check_box(box: Sequence[float]) -> None:
    """Raises:
    Fault: x, y, width, height are no shares of the picture's side, or a size is negative.
    """
    check_shares(box)
    if min(box[2:]) < 0:
        raise Fault(f"found the size {min(box[2:]):g}, expected a share of the picture's side, 0 to 1")


def check_points(points: Sequence[float]) -> None:
    """Checks the corners x1 y1 x2 y2 ... of a polygon. As in Ultralytics, one may lie outside of the picture where the
    middle and the size of the box around all of them do not: a rotated box at the border has such corners.

    Raises:
        Fault: they are no shares of the picture's side.
    """
    for side in (points[0::2], points[1::2]):
        check_shares(value for value in side if not math.isfinite(value))
        low, high = min(side), max(side)
        try:
            check_shares(((low + high) / 2, high - low))
        except Fault:
            check_shares(sorted(side, key=lambda value: -abs(value - 0.5)))
            raise


def rows_of(lines: Sequence[np.ndarray]) -> np.ndarray:
    """Returns float32 (n, 5) class, x, y, width, height of lines: of a polygon, those of the box around it.

    Args:
        lines: of each object class, x, y, width, height, or class and the corners x1 y1 x2 y2 x3 y3 ... of a polygon.
    """
    import numpy as np

    rows = np.zeros((len(lines), 5), np.float32)
    for row, line in zip(rows, lines, strict=True):
        if len(line) == 5:
            row[:] = line
        else:
            points = line[1:].reshape(-1, 2)
            low, high = points.min(0), points.max(0)
            row[0], row[1:3], row[3:] = line[0], (low + high) / 2, high - low
    return rows


def distinct(rows: np.ndarray, texts: Sequence[bytes] | None = None) -> np.ndarray:
    """Returns which rows to keep: all in their order or, where some repeat others, each once in sorted order.

    That is Ultralytics' order, on which the matching of objects that tie depends.

    Args:
        rows: (n, values).
        texts: of rows that may be equal and yet not repeat each other, their whole content.
    """
    import numpy as np

    _, kept = np.unique(rows, axis=0, return_index=True)
    if len(kept) < len(rows) and texts is not None:
        _, kept = np.unique(np.array(texts, dtype=object), return_index=True)
    return kept if len(kept) < len(rows) else np.arange(len(rows))


def corners_of(boxes: np.ndarray) -> np.ndarray:
    """Returns (n, 4) x1, y1, x2, y2 of (n, 4) x, y, width, height."""
    import numpy as np

    centre, half = boxes[:, :2], boxes[:, 2:4] / 2
    return np.concatenate((centre - half, centre + half), 1)
