"""Compares outputs of (n, objects, 6 + extras): corners, score, class number and what the task adds, the best row
first."""

from __future__ import annotations

import numpy as np


def matched_rows(before: np.ndarray, after: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of one output, and for each the most similar row of the other output: of its class, of a score
    that ties with its own, with the nearest corners; infinities where there is none.

    Objects whose score is that of the last object kept may be replaced by others that tie with it: they are left out.

    Args:
        before: float32 (n, objects, 6 + extras).
        after: the same shape.
        tolerance: difference of scores up to which they tie.

    Returns:
        two arrays (m, 6 + extras).
    """
    expected_rows, actual_rows = [], []
    for expected, actual in zip(before, after, strict=True):
        last = max(expected[:, 4].min(), actual[:, 4].min()) + tolerance
        for row in expected[expected[:, 4] > last]:
            rivals = actual[(np.abs(actual[:, 4] - row[4]) <= tolerance) & (actual[:, 5] == row[5])]
            distances = np.abs(rivals[:, :4] - row[:4]).max(axis=1)
            expected_rows.append(row)
            actual_rows.append(rivals[distances.argmin()] if len(rivals) else np.full_like(row, np.inf))
    width = before.shape[2]
    return np.reshape(expected_rows, (-1, width)), np.reshape(actual_rows, (-1, width))


def score_gap(before: np.ndarray, after: np.ndarray) -> float:
    """Returns the largest difference of the sorted scores of two outputs, shaped as for `matched_rows`."""
    return float(np.abs(np.sort(before[:, :, 4]) - np.sort(after[:, :, 4])).max(initial=0.0))
