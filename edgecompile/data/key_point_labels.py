"""Labels that are boxes with key points: `class x y width height`, then x y, or x y visibility, of each key point.

The rules are those of Ultralytics 8.4 (`ultralytics.data.utils.verify_image_label`): a key point counts where its
visibility is not 0; one without visibility counts unless a coordinate is negative. The data set states `kpt_shape`, and
may state `kpt_oks_sigmas`: by how much of an object's size a key point is off where its similarity has fallen to
exp(-1/8).
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
    check_box,
    check_shares,
    corners_of,
    distinct,
    numbers,
    parsed,
    parsed_or_error,
)

if TYPE_CHECKING:
    import numpy as np

MOST_VISIBLE = 2
"""COCO's visibility: 0 not labelled, 1 hidden, 2 visible; labels that a model wrote hold its confidence."""
COCO_SHAPE = (17, 3)
COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
)  # fmt: skip
"""Sigmas of the key points of a person, as COCO measured them (https://cocodataset.org/#keypoints-eval)."""


@dataclass(frozen=True)
class KeyPointLabels:
    """The objects of one picture, in shares of its sides.

    Attributes:
        classes: (n,) int64.
        boxes: (n, 4) float32, x1, y1, x2, y2.
        key_points: (n, key points, 3) float32, x, y and visibility; those whose visibility is 0 do not count.
        sigmas: one a key point: those of the data set or, where it states none, COCO's for 17 key points of 3 values,
            else 1 / key points each, as in Ultralytics.
    """

    classes: np.ndarray
    boxes: np.ndarray
    key_points: np.ndarray
    sigmas: tuple[float, ...]


def fact_problems(facts: LabelFacts) -> tuple[str, ...]:
    """Returns what a data set does not say of its labels and has to."""
    return () if facts.kpt_shape else ("kpt_shape is missing, expected the number of key points and 2 or 3: [17, 3]",)


def check_labels(lines: LabelLines, facts: LabelFacts) -> CheckedLabels:
    """Returns what the lines hold and what is wrong with them; nothing where `fact_problems` has something to say."""
    if facts.kpt_shape is None:
        return CheckedLabels(len(lines.lines))
    shape = facts.kpt_shape
    rows, problems = parsed(lines, lambda fields: _pose(fields, facts.classes, shape))
    return CheckedLabels(0 if problems else len({array("f", row).tobytes() for row in rows}), problems)


def read_labels(lines: LabelLines, facts: LabelFacts) -> KeyPointLabels:
    """Reads the labels of one picture. Drops lines that repeat another line.

    Raises:
        RecipeError: with a problem for each malformed line.
        ValueError: the facts state no `kpt_shape`.
    """
    import numpy as np

    if facts.kpt_shape is None:
        raise ValueError("labels with key points are read by their kpt_shape")
    count, values = shape = facts.kpt_shape
    found = parsed_or_error(lines, lambda fields: _pose(fields, facts.classes, shape))
    rows = np.array(found, np.float32).reshape(-1, 5 + count * values)
    rows = rows[distinct(rows)]
    points = rows[:, 5:].reshape(-1, count, values)
    if values == 2:
        seen = (points >= 0).all(axis=2, keepdims=True)
        points = np.concatenate((points, seen.astype(np.float32)), axis=2)
    usual = COCO_SIGMAS if shape == COCO_SHAPE else (1 / count,) * count
    sigmas = facts.kpt_oks_sigmas or usual
    return KeyPointLabels(rows[:, 0].astype(np.int64), corners_of(rows[:, 1:5]), points, sigmas)


def _pose(fields: Fields, classes: int, shape: tuple[int, int]) -> list[float]:
    count, of_each = shape
    if len(fields) != 5 + count * of_each:
        what = f"class x y width height and {count} key points of {of_each} values, as kpt_shape says"
        raise Fault(f"found {len(fields)} values, expected {5 + count * of_each}: {what}")
    values = numbers(fields, classes)
    check_box(values[1:5])
    points = values[5:]
    check_shares(value for index, value in enumerate(points) if index % of_each < 2)
    for visible in points[2::3] if of_each == 3 else ():
        if not 0 <= visible <= MOST_VISIBLE:
            raise Fault(f"found the visibility {visible:g}, expected 0 (not labelled), 1 (hidden) or 2 (visible)")
    return values
