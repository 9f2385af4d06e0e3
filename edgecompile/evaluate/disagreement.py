"""How far what a model finds on a picture is from what the float model finds there. No label is needed.

It tells which part of a network loses what is found when it is quantized: the distance of raw outputs does not, for
most of these are background.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LOWEST = 0.05
"""Score from which on what is found counts."""
SAME_OBJECT = 0.5
"""Overlap from which on two objects of one class are the same object."""

Likeness = Callable[[np.ndarray, np.ndarray], np.ndarray]
Objects = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Scores (n,), classes (n,) and places (n, values)."""


def disagreement(reference: Objects, other: Objects, likeness: Likeness) -> tuple[float, float]:
    """Returns what was lost of the objects of one picture, and how much there was to lose: the sum of their scores.

    Each object of the float model loses the part of its place that the likeliest other object of its class does not
    cover, weighted by its score, and the change of its score; where there is no such object, both wholly. An object
    that only the other model finds adds its score.

    Args:
        reference: what the float model finds.
        other: what another model finds on the same picture.
        likeness: of m and n places, 0..1, (m, n).
    """
    scores, classes, places = reference
    others, other_classes, other_places = other
    total = float(scores.sum())
    if not len(scores) or not len(others):
        return 2 * total + float(others.sum()), total
    shared = likeness(places, other_places) * (classes[:, None] == other_classes)
    best = shared.argmax(axis=1)
    overlap = shared[np.arange(len(scores)), best]
    same = overlap >= SAME_OBJECT
    moved = scores * (1 - np.where(same, overlap, 0.0))
    changed = np.abs(scores - np.where(same, others[best], 0.0))
    additional = others[shared.max(axis=0) < SAME_OBJECT]
    return float(moved.sum() + changed.sum() + additional.sum()), total
