"""Pairs two raw outputs of one model so that they can be compared number by number.

Boxes (0 to hundreds of pixels) and scores (0 to 1) share one tensor. Compared as one, dead scores would hide behind
good boxes (a cosine above 0.9999 with every score 0), so the two are told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Pairs = dict[str, tuple[np.ndarray, np.ndarray]]
"""Part of an output to the numbers of the one model and of the other, of one shape."""


def aligned(reference: np.ndarray, other: np.ndarray, spec: Mapping[str, Any]) -> Pairs:
    """Returns the boxes and the scores of two outputs; an output that holds neither is one part, named "".

    The anchors of `yolo` always stand in one order. The rows of `end2end` are sorted by score, so that the least change
    of scores moves rows: there, every row that the reference is sure of is paired with the row of its class that
    overlaps it most, or with zeros.

    Args:
        reference: raw output of a model on one picture, with its batch axis.
        other: raw output of the same shape.
        spec: the document of `spec.json`.
    """
    decode, classes = spec["output"]["decode"], len(spec["names"])
    if decode == "yolo" and reference.ndim == 3 and reference.shape[1] == 4 + classes:
        return {"boxes": (reference[:, :4], other[:, :4]), "scores": (reference[:, 4:], other[:, 4:])}
    if decode == "end2end" and reference.ndim == 3 and reference.shape[2] == 6:
        sure, rows = _paired(reference[0], other[0], spec["nms"]["conf"])
        return {"boxes": (sure[:, :4], rows[:, :4]), "scores": (sure[:, 4], rows[:, 4])}
    return {"": (reference, other)}


def _paired(reference: np.ndarray, other: np.ndarray, conf: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows x1, y1, x2, y2, score, class of `reference` with a score of `conf` or more, the best first, and
    the rows of `other` that stand for them."""
    sure = reference[reference[:, 4] >= conf]
    shared = _overlaps(sure[:, :4], other[:, :4]) * (sure[:, None, 5] == other[None, :, 5])
    rows = np.zeros_like(sure)
    for index in range(len(sure)):
        best = int(shared[index].argmax())
        if shared[index, best] > 0:
            rows[index] = other[best]
            shared[:, best] = 0
    return sure, rows


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of each of `boxes` (m, 4) with each of `others` (n, 4), as (m, n)."""
    one, two = boxes[:, None], others[None]
    sides = np.minimum(one[..., 2:], two[..., 2:]) - np.maximum(one[..., :2], two[..., :2])
    common = sides.clip(0).prod(-1)
    areas = (one[..., 2:] - one[..., :2]).prod(-1) + (two[..., 2:] - two[..., :2]).prod(-1)
    return common / np.maximum(areas - common, 1e-7)
