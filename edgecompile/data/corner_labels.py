"""Labels that are the corners of rotated boxes: `class x1 y1 x2 y2 x3 y3 x4 y4`, or of a polygon around the object, for
which the smallest rotated box around it stands.

The rules are those of Ultralytics 8.4 (`ultralytics.data.utils.verify_image_label`).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecompile.data.label_lines import (
    CheckedLabels,
    Fault,
    Fields,
    LabelFacts,
    LabelLines,
    check_points,
    distinct,
    numbers,
    parsed,
    parsed_or_error,
    rows_of,
)

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class CornerLabels:
    """The objects of one picture: `classes` (n,) int64 and `corners` (n, k, 2) float32, x, y of the corners as shares
    of the picture's sides, in the order of the labels. Where one has more than others, these repeat their last."""

    classes: np.ndarray
    corners: np.ndarray

    def in_pixels(self, width: int, height: int) -> np.ndarray:
        """Returns the corners in pixels of a picture of that size."""
        import numpy as np

        return self.corners * np.array([width, height], np.float32)


def check_labels(lines: LabelLines, facts: LabelFacts) -> CheckedLabels:
    """Returns what the lines hold and what is wrong with them."""
    rows, problems = parsed(lines, lambda fields: _corners(fields, facts.classes))
    return CheckedLabels(0 if problems else len({array("f", row).tobytes() for row in rows}), problems)


def read_labels(lines: LabelLines, facts: LabelFacts) -> CornerLabels:
    """Reads the labels of one picture. Drops lines that repeat another line.

    Raises:
        RecipeError: with a problem for each malformed line.
    """
    import numpy as np

    values = [
        np.array(row, np.float32) for row in parsed_or_error(lines, lambda fields: _corners(fields, facts.classes))
    ]
    rows = rows_of(values)
    kept = distinct(rows, [line.tobytes() for line in values])
    polygons = [values[index][1:].reshape(-1, 2) for index in kept]
    most = max(map(len, polygons), default=4)
    corners = np.empty((len(polygons), most, 2), np.float32)
    for place, polygon in zip(corners, polygons, strict=True):
        place[:] = np.pad(polygon, ((0, most - len(polygon)), (0, 0)), mode="edge")
    return CornerLabels(rows[kept, 0].astype(np.int64), corners)


def _corners(fields: Fields, classes: int) -> list[float]:
    if len(fields) < 7 or len(fields) % 2 == 0:
        what = ", which are a box" if len(fields) == 5 else ""
        fix = "label each object with the corners of its rotated box" if what else ""
        form = "class x1 y1 x2 y2 x3 y3 x4 y4, or a polygon"
        raise Fault(f"found {len(fields)} values{what}, expected 9: {form}", fix)
    values = numbers(fields, classes)
    check_points(values[1:])
    return values
