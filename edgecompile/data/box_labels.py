"""Labels that are boxes: `class x y width height`, or a polygon, of which the box around it counts.

The rules are those of Ultralytics (`ultralytics.data.utils.verify_image_label`, 8.4), which drops a picture whose
labels break them; here they are errors, because a validation set that shrinks silently proves nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgecompile.data.label_lines import (
    TOLERANCE,
    CheckedLabels,
    Fault,
    Fields,
    LabelFacts,
    LabelLines,
    Parse,
    check_box,
    check_points,
    corners_of,
    distinct,
    numbers,
    parsed,
    parsed_or_error,
    rows_of,
)

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class BoxLabels:
    """The objects of one picture: `classes` (n,) int64 and `boxes` (n, 4) float32, x1, y1, x2, y2 as shares of it."""

    classes: np.ndarray
    boxes: np.ndarray

    def in_pixels(self, width: int, height: int) -> np.ndarray:
        """Returns the boxes in pixels of a picture of that size."""
        import numpy as np

        return self.boxes * np.array([width, height, width, height], np.float32)


def check_labels(lines: LabelLines, facts: LabelFacts) -> CheckedLabels:
    """Returns what the lines hold and what is wrong with them."""
    boxes, poses = _without_key_points(lines, facts)
    parse, polygons = _parse(boxes, facts)
    rows, problems = parsed(boxes, parse)
    unique = {array("f", row).tobytes() for row in rows}
    if problems or not polygons:
        return CheckedLabels(0 if problems else len(unique), problems, poses=poses)
    lengths = [array("f", row) for row in unique]
    return CheckedLabels(len(unique), (), frozenset(map(len, lengths)), sum(map(_is_maybe_pose, lengths)), poses)


def read_labels(lines: LabelLines, facts: LabelFacts) -> BoxLabels:
    """Reads the labels of one picture. Drops lines that repeat another line. Of a polygon, the box around it counts.

    Raises:
        RecipeError: with a problem for each malformed line.
    """
    import numpy as np

    boxes, _ = _without_key_points(lines, facts)
    parse, polygons = _parse(boxes, facts)
    values = [np.array(row, np.float32) for row in parsed_or_error(boxes, parse)]
    rows = rows_of(values)
    kept = distinct(rows, [line.tobytes() for line in values] if polygons else None)
    return BoxLabels(rows[kept, 0].astype(np.int64), corners_of(rows[kept, 1:]))


def _without_key_points(lines: LabelLines, facts: LabelFacts) -> tuple[LabelLines, int]:
    """Returns the lines, of those with key points the box alone, and how many of those there are."""
    if facts.kpt_shape is None:
        return lines, 0
    width = 5 + facts.kpt_shape[0] * facts.kpt_shape[1]
    short = [(place, fields[:5] if len(fields) == width else fields) for place, fields in lines.lines]
    return replace(lines, lines=short), sum(len(fields) == width for _, fields in lines.lines)


def _parse(lines: LabelLines, facts: LabelFacts) -> tuple[Parse, bool]:
    """Returns how the lines of a picture are read, and whether they are polygons: all are, or none is."""
    if any(len(fields) > 6 for _, fields in lines.lines):
        return lambda fields: _polygon(fields, facts.classes), True
    return lambda fields: _box(fields, facts.classes), False


def _polygon(fields: Fields, classes: int) -> list[float]:
    if len(fields) < 7 or len(fields) % 2 == 0:
        shape = "expected a class and at least three points, as on the file's other lines"
        raise Fault(f"found {len(fields)} values, {shape}")
    values = numbers(fields, classes)
    check_points(values[1:])
    return values


def _box(fields: Fields, classes: int) -> list[float]:
    if len(fields) != 5:
        raise Fault(f"found {len(fields)} values, expected 5: class x y width height")
    values = numbers(fields, classes)
    check_box(values[1:])
    return values


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
