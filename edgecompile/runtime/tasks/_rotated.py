"""Rotated boxes: their corners, how much two of them are alike, and their non-maximum suppression.

Results equal those of Ultralytics' `TorchNMS.fast_nms` with `batch_probiou`. The likeness is that of two normal
distributions with the spread of the boxes (https://arxiv.org/abs/2106.06072), 1 where they are one and the same. The
suppression is not greedy (Fast-NMS, https://arxiv.org/abs/1904.02689): a box that was dropped still drops others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgecompile.runtime.tasks._boxes import Boxes, candidates, offsets

BLOCK = 256
"""Boxes that are judged at a time: bounds the memory of the suppression."""
BETTER = 2048
"""Better boxes that a block is compared with at a time."""
EPSILON = np.float32(1e-7)
MOST_DISTANCE = np.float32(100)
"""Largest distance of two distributions: exp(-100) is nothing."""
TOLD_APART = 20.0
"""Distance from which two boxes have nothing in common in float32."""
NARROWEST, LONGEST = 0.5, 100.0
"""Shortest side in pixels, and largest ratio of the sides, up to which rounding hides nothing of a box's spread."""


def decode_rotated(
    output: np.ndarray, *, conf: float, iou: float, max_det: int, class_agnostic: bool, multi_label: bool
) -> Boxes:
    """Reads an output of (4 + classes + 1, anchors), the angle last, and suppresses boxes that are too much alike.

    Args:
        conf, max_det, class_agnostic, multi_label: as for `_boxes.decode_yolo`.
        iou: boxes that are more alike to a better box of their class are dropped.

    Returns:
        centre x, centre y, width, height in input pixels, best first; extras (n, 1): the angle in radians.

    Raises:
        OutputError: a score is not in 0..1, or a chosen box or its angle is invalid.
    """
    found = candidates(output, conf=conf, multi_label=multi_label, extras=1)
    boxes = np.concatenate((found.boxes, found.extras), axis=1)
    if not class_agnostic:
        boxes[:, :2] += offsets(found.classes)[:, None]
    return found.at(suppress(boxes, iou, max_det))


def corners(boxes: np.ndarray) -> np.ndarray:
    """Returns the corners (n, 4, 2) of boxes (n, 5): x, y, width, height, angle in radians. The first is the lower
    right corner of the box before it is turned, the others follow against the clock as pictures are shown."""
    centre, cos, sin = boxes[:, None, :2], np.cos(boxes[:, 4:]), np.sin(boxes[:, 4:])
    along = (boxes[:, 2:3] / 2 * np.concatenate((cos, sin), axis=1))[:, None]
    across = (boxes[:, 3:4] / 2 * np.concatenate((-sin, cos), axis=1))[:, None]
    return np.concatenate(
        (centre + along + across, centre + along - across, centre - along - across, centre - along + across), axis=1
    )


class Spreads(NamedTuple):
    """Boxes as normal distributions: means x and y, and variances a of x, b of y, covariance c."""

    x: np.ndarray
    y: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def at(self, index: np.ndarray | slice | tuple[slice, None] | tuple[None, slice]) -> Spreads:
        """Returns some of them, or all on another axis."""
        return Spreads(*(column[index] for column in self))


def spreads(boxes: np.ndarray) -> Spreads:
    """Returns boxes (n, 5) as normal distributions."""
    boxes = np.asarray(boxes, np.float32)
    x, y = boxes[:, 0], boxes[:, 1]
    a, b = boxes[:, 2] ** 2 / np.float32(12), boxes[:, 3] ** 2 / np.float32(12)
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    return Spreads(x, y, a * cos**2 + b * sin**2, a * sin**2 + b * cos**2, (a - b) * cos * sin)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns how much each of `boxes` (m, 5) is like each of `others` (n, 5), float32 (m, n): 0..1 up to rounding."""
    return likeness(spreads(boxes).at((slice(None), None)), spreads(others).at((None, slice(None))))


def likeness(first: Spreads, second: Spreads) -> np.ndarray:
    """Returns how much distributions are alike, element by element: 1 - their Hellinger distance."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # boxes without area, or not finite
        a, b, c = first.a + second.a, first.b + second.b, first.c + second.c
        product = a * b - c**2
        near = (a * (first.y - second.y) ** 2 + b * (first.x - second.x) ** 2) / (product + EPSILON) * np.float32(0.25)
        turned = c * (second.x - first.x) * (first.y - second.y) / (product + EPSILON) * np.float32(0.5)
        areas = np.maximum(first.a * first.b - first.c**2, 0) * np.maximum(second.a * second.b - second.c**2, 0)
        shaped = np.log(product / (np.float32(4) * np.sqrt(areas) + EPSILON) + EPSILON) * np.float32(0.5)
        distance = np.clip(near + turned + shaped, EPSILON, MOST_DISTANCE)
        return np.float32(1) - np.sqrt(np.float32(1) - np.exp(-distance) + EPSILON)


def suppress(boxes: np.ndarray, iou: float, max_det: int) -> np.ndarray:
    """Returns the indices of the boxes that are like no better box by more than `iou`, at most `max_det`.

    Args:
        boxes: float32 (n, 5), x y width height angle, best first.
    """
    shapes, reach = spreads(boxes), _reach(boxes, iou)
    kept: list[np.ndarray] = []
    for start in range(0, len(boxes), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(boxes)))
        dropped = np.zeros(len(block), bool)
        for first in range(0, block[-1], BETTER):
            better = np.arange(first, min(first + BETTER, block[-1]))
            dropped[_alike(shapes, reach, better, block, iou)] = True
        kept.append(block[~dropped])
        if sum(map(len, kept)) >= max_det:
            break
    return np.concatenate([*kept, np.empty(0, np.intp)])[:max_det]


def _alike(shapes: Spreads, reach: np.ndarray, better: np.ndarray, block: np.ndarray, iou: float) -> np.ndarray:
    """Returns which of a block's boxes, by their place in it, are like a box that is better than they are."""
    across = shapes.x[better, None] - shapes.x[None, block]
    down = shapes.y[better, None] - shapes.y[None, block]
    close = across * across + down * down <= reach[better, None] + reach[None, block]
    close &= better[:, None] < block[None]
    rows, columns = np.nonzero(close)
    alike = likeness(shapes.at(better[rows]), shapes.at(block[columns])) > np.float32(iou)
    return columns[alike]


def _reach(boxes: np.ndarray, iou: float) -> np.ndarray:
    """Returns (n,) such that boxes whose centres are farther apart than the root of their sum cannot be alike by more
    than `iou`: most pairs, which need no further arithmetic.

    The distance of two distributions is at least a quarter of the squared distance of their means, over the sum of
    their largest variances; a likeness of `iou` is a distance of -log(1 - (1 - iou)^2).
    """
    farthest = min(-np.log(max(1 - (1 - iou) ** 2, 1e-30)), TOLD_APART) * 1.01 + 1e-3
    longest, shortest = boxes[:, 2:4].max(axis=1, initial=0), boxes[:, 2:4].min(axis=1, initial=np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        clear = (shortest >= NARROWEST) & (longest <= LONGEST * shortest)
        return np.where(clear, np.float32(farthest / 3) * longest**2, np.float32(np.inf))
