"""Labels that are polygons around objects: `class x1 y1 x2 y2 x3 y3 ...`, for segmentation.

The rules are those of Ultralytics 8.4 (`ultralytics.data.utils.verify_image_label`, `YOLODataset.verify_labels`).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecompile.data.label_lines import (
    CheckedLabels,
    Fault,
    Fields,
    LabelFacts,
    LabelLines,
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
class PolygonLabels:
    """The objects of one picture, in shares of its sides.

    Attributes:
        classes: (n,) int64.
        boxes: (n, 4) float32, x1, y1, x2, y2 of the box around each polygon.
        polygons: of each object (k, 2) float32, its k >= 3 corners x, y, as they stand in the labels.
    """

    classes: np.ndarray
    boxes: np.ndarray
    polygons: Sequence[np.ndarray]


def check_labels(lines: LabelLines, facts: LabelFacts) -> CheckedLabels:
    """Returns what the lines hold and what is wrong with them."""
    rows, problems = parsed(lines, lambda fields: _polygon(fields, facts.classes))
    return CheckedLabels(0 if problems else len({array("f", row).tobytes() for row in rows}), problems)


def read_labels(lines: LabelLines, facts: LabelFacts) -> PolygonLabels:
    """Reads the labels of one picture. Drops lines that repeat another line.

    Raises:
        RecipeError: with a problem for each malformed line.
    """
    import numpy as np

    values = [
        np.array(row, np.float32) for row in parsed_or_error(lines, lambda fields: _polygon(fields, facts.classes))
    ]
    rows = rows_of(values)
    kept = distinct(rows, [line.tobytes() for line in values])
    return PolygonLabels(
        classes=rows[kept, 0].astype(np.int64),
        boxes=corners_of(rows[kept, 1:]),
        polygons=tuple(values[index][1:].reshape(-1, 2) for index in kept),
    )


def _polygon(fields: Fields, classes: int) -> list[float]:
    if len(fields) == 5:
        fix = "label each object with a polygon; boxes judge detectors alone"
        raise Fault("found 5 values, which are a box, expected a polygon: class x1 y1 x2 y2 x3 y3 ...", fix)
    if len(fields) < 7 or len(fields) % 2 == 0:
        raise Fault(f"found {len(fields)} values, expected a class and at least three points: class x1 y1 x2 y2 ...")
    values = numbers(fields, classes)
    check_points(values[1:])
    return values
