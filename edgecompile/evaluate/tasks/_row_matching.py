"""Compares outputs of (n, detections, 6): corners, score and class number, the best row first."""

from __future__ import annotations

import math

import numpy as np


def row_gaps(before: np.ndarray, after: np.ndarray, tolerance: float) -> tuple[float, float]:
    """Returns the largest differences of corners and of scores, each row matched with the most similar row.

    Detections whose score is that of the last detection kept may be replaced by others that tie with it: they are left
    out of the corners.

    Args:
        before: float32 (n, detections, 6).
        after: the same shape.
        tolerance: difference of scores up to which they tie.
    """
    corners = scores = 0.0
    for expected, actual in zip(before, after, strict=True):
        scores = max(scores, float(np.abs(np.sort(expected[:, 4]) - np.sort(actual[:, 4])).max()))
        last = max(expected[:, 4].min(), actual[:, 4].min()) + tolerance
        for row in expected[expected[:, 4] > last]:
            rivals = actual[(np.abs(actual[:, 4] - row[4]) <= tolerance) & (actual[:, 5] == row[5])]
            gap = np.abs(rivals[:, :4] - row[:4]).max(axis=1).min() if len(rivals) else math.inf
            corners = max(corners, float(gap))
    return corners, scores
