"""What became of the scores of a float model's objects in an artifact, and what a user of a threshold sees of it.

Accuracy by average precision ranks objects: it does not see a shift of all scores, which moves every threshold.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgecompile.runtime.figures import AtThreshold, ScoreChange

MATCHED_OVERLAP = 0.5
"""Overlap from which on two objects of one class are the same object."""
DIGITS = 6

Likeness = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes the places of m and of n objects, returns how far they overlap, 0..1, (m, n)."""


def at_threshold(scores: np.ndarray, hits: np.ndarray, objects: int, threshold: float) -> AtThreshold:
    """Returns what is found from a score on.

    Args:
        scores: (n,) of all pictures.
        hits: bool (n,), whether each hits a labelled object.
        objects: labelled.
        threshold: the score.
    """
    sure = scores >= threshold
    found, right = int(sure.sum()), int((sure & hits).sum())
    return {
        "found": found,
        "precision": round(right / found, DIGITS) if found else None,
        "recall": round(right / objects, DIGITS) if objects else None,
    }


def matched_shifts(
    before: tuple[np.ndarray, np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray, np.ndarray],
    threshold: float,
    likeness: Likeness,
) -> np.ndarray:
    """Returns by how much the scores of the objects of one picture changed, float64 (matched,).

    The float model's objects from the threshold on, the surest first, each take the free object of their class that
    they overlap most, whatever its score: what sank below the threshold counts too.

    Args:
        before: scores (m,), falling, classes (m,) and places (m, values) of the float model.
        after: the same of the artifact.
        threshold: lowest score of `before` that counts.
        likeness: of places.
    """
    scores, classes, places = before
    sure = int((scores >= threshold).sum())
    other_scores, other_classes, other_places = after
    if not sure or not len(other_scores):
        return np.zeros(0)
    shared = likeness(places[:sure], other_places) * (classes[:sure, None] == other_classes)
    shifts = []
    for index in range(sure):
        best = int(shared[index].argmax())
        if shared[index, best] >= MATCHED_OVERLAP:
            shifts.append(float(other_scores[best]) - float(scores[index]))
            shared[:, best] = 0
    return np.array(shifts)


def change_of(
    shifts: np.ndarray,
    threshold: float | None = None,
    reference: AtThreshold | None = None,
    artifact: AtThreshold | None = None,
) -> ScoreChange:
    """Returns what became of the scores.

    Args:
        shifts: (matched,) of all pictures.
        threshold, reference, artifact: see `ScoreChange`.
    """
    return {
        "threshold": threshold,
        "reference": reference,
        "artifact": artifact,
        "matched": len(shifts),
        "median_shift": round(float(np.median(shifts)), DIGITS) if len(shifts) else None,
        "largest_shift": round(float(np.abs(shifts).max()), DIGITS) if len(shifts) else None,
    }
