"""What the numbers of an output say for or against a layout. Each function returns a doubt, or "" where it has none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CONFIDENT = 0.25
"""Score from which a box counts as a detection: those are hardly ever nonsense."""
MOST_STRANGE = 0.05
"""Share of detections whose box may be nonsense."""
MOST_STRANGE_OF_ALL = 0.5
"""Share of all boxes that may be nonsense where there is no detection: boxes of low scores mean nothing."""
ROUNDING = 1e-3
"""By how much a score may leave 0..1, and a whole number be none."""
FRACTION = 1.5
"""What the largest coordinate of most boxes stays below where they are fractions of the picture."""
FEWEST_CELLS = 50
"""Boxes from which those of a grid stand all over the picture."""
OUTSIDE = 2.0
"""Pixels by which a box may leave the picture and still be inside."""


def of_scores(scores: np.ndarray) -> str:
    """Doubts that numbers are scores."""
    low, high = float(scores.min(initial=0.0)), float(scores.max(initial=0.0))
    if low < -ROUNDING or high > 1 + ROUNDING:
        return f"its scores range from {low:.3g} to {high:.3g}, expected 0 to 1"
    return ""


def of_class_numbers(numbers: np.ndarray, classes: int) -> str:
    """Doubts that numbers are those of classes."""
    gaps = np.abs(numbers - np.round(numbers))
    if gaps.max(initial=0.0) > ROUNDING:
        return f"its class numbers are not whole ({float(numbers[gaps.argmax()]):.3g})"
    if numbers.size and (numbers.min() < 0 or numbers.max() > classes - 1):
        span = f"{numbers.min():.0f} to {numbers.max():.0f}"
        return f"its class numbers range from {span}, expected 0 to {classes - 1}"
    return ""


def of_corners(boxes: np.ndarray, scores: np.ndarray) -> str:
    """Doubts that boxes (rows, 4) are x1 y1 x2 y2."""
    wrong = (boxes[:, 2] < boxes[:, 0] - 1) | (boxes[:, 3] < boxes[:, 1] - 1)
    share = _strange(wrong, scores)
    return f"of {share:.0%} of its boxes the second corner stands before the first" if share else ""


def of_centres(boxes: np.ndarray, scores: np.ndarray, size: Sequence[int]) -> str:
    """Doubts that boxes (rows, 4) are centre x, y, width, height in pixels of pictures of height and width `size`."""
    share = _strange((boxes[:, 2] < 0) | (boxes[:, 3] < 0), scores)
    if share:
        return f"{share:.0%} of its boxes have a width or height below 0"
    if _are_corners(boxes[scores >= CONFIDENT], size):
        return "its boxes are corners (x1 y1 x2 y2), expected centre and size"
    return of_pixels(boxes, size)


def of_spread(boxes: np.ndarray, size: Sequence[int]) -> str:
    """Doubts that the middles of all boxes (rows, 4) of a grid, pixels, spread over the picture."""
    if len(boxes) < FEWEST_CELLS:
        return ""
    farthest = [float(np.percentile(boxes[:, axis], 99)) for axis in (0, 1)]
    if farthest[0] < size[1] / 2 and farthest[1] < size[0] / 2:
        reach = f"{farthest[0]:.3g} and {farthest[1]:.3g}"
        return f"the middles of its boxes reach {reach} pixels of {size[1]} and {size[0]}: are they offsets from cells?"
    return ""


def of_pixels(boxes: np.ndarray, size: Sequence[int]) -> str:
    """Doubts that coordinates are pixels of pictures of height and width `size`."""
    usual = float(np.median(np.abs(boxes).max(axis=1))) if len(boxes) else 0.0
    if 0 < usual <= FRACTION < min(size):
        return f"its boxes are fractions of the picture (mostly below {usual:.2g}), expected pixels"
    return ""


def of_finite(output: np.ndarray) -> str:
    return "" if np.isfinite(output).all() else "it holds numbers that are not finite"


def _strange(wrong: np.ndarray, scores: np.ndarray) -> float:
    """Returns the share of boxes that are wrong, of the detections or, without any, of all; 0 where it is small."""
    sure = scores >= CONFIDENT
    considered, most = (wrong[sure], MOST_STRANGE) if sure.any() else (wrong, MOST_STRANGE_OF_ALL)
    share = float(considered.mean()) if considered.size else 0.0
    return share if share > most else 0.0


def _are_corners(boxes: np.ndarray, size: Sequence[int]) -> bool:
    """Whether detections make sense as corners and not as centre and size: as such, they lie inside of the picture;
    taken for centre and size, most reach out of it."""
    if not len(boxes):
        return False
    sides = np.array([size[1], size[0]], np.float32)
    first, second = boxes[:, :2], boxes[:, 2:]
    inside = (first >= -OUTSIDE) & (second >= first) & (second <= sides + OUTSIDE)
    within = (first - second / 2 >= -OUTSIDE) & (first + second / 2 <= sides + OUTSIDE)
    return inside.all(axis=1).mean() > 0.8 and within.all(axis=1).mean() < 0.5
