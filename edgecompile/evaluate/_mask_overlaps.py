"""Labelled masks, and how far they overlap with those found, as Ultralytics' validation draws and compares them.

Sources: `ultralytics.utils.ops.resample_segments`, `ultralytics.data.utils.polygons2masks_overlap`,
`ultralytics.utils.metrics.mask_iou`, ultralytics 8.4; the tests compare with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgecompile.runtime.tasks._masks import RATIO, Plane

POINTS = 1000
"""Points of a polygon that is drawn: more corners are put on its sides, each then cut to a whole pixel."""


def drawn(polygons: Sequence[np.ndarray], plane: Plane) -> np.ndarray:
    """Returns bool (n, height, width), at the size of the plane, of objects of which the smaller cover the larger.

    Args:
        polygons: of each object (k, 2), x and y as shares of the picture.
    """
    height, width = plane.shape
    geometry = plane.geometry
    scale = np.array(geometry.scaled[::-1], np.float32)
    offset = np.array([geometry.left, geometry.top], np.float32)
    most = max((len(polygon) for polygon in polygons), default=0)
    count = POINTS if most <= POINTS else most + 1
    masks = np.zeros((len(polygons), height, width), bool)
    canvas = np.zeros((height * RATIO, width * RATIO), np.uint8)
    for mask, polygon in zip(masks, polygons, strict=True):
        canvas[:] = 0
        cv2.fillPoly(canvas, [(resampled(polygon, count) * scale + offset).astype(np.int32)], 1)
        mask[:] = cv2.resize(canvas, (width, height))
    taken = np.zeros((height, width), bool)
    for index in np.argsort(-masks.sum((1, 2)), kind="stable")[::-1]:  # of two of one size, the later
        masks[index] &= ~taken
        taken |= masks[index]
    return masks


def resampled(polygon: np.ndarray, count: int) -> np.ndarray:
    """Returns float32 (count, 2): points at equal steps of the number of the side, and the corners themselves."""
    if len(polygon) == count:
        return polygon
    closed = np.concatenate((polygon, polygon[:1]))
    corners = np.arange(len(closed))
    few = len(closed) < count
    places = np.linspace(0, len(closed) - 1, count - len(closed) if few else count)
    places = np.sort(np.concatenate((places, corners))) if few else places
    return np.stack([np.interp(places, corners, closed[:, axis]) for axis in (0, 1)], axis=1).astype(np.float32)


def overlaps(masks: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the intersection over union of each of `masks` with each of `others`, all bool (height, width), as
    float32 (m, n)."""
    pixels = masks.shape[1] * masks.shape[2]
    first, second = (np.asarray(group, np.float32).reshape(len(group), pixels) for group in (masks, others))
    common = first @ second.T
    areas = first.sum(1)[:, None] + second.sum(1)[None]
    return common / (areas - common + np.float32(1e-7))
