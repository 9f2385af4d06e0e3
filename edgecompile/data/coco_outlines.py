"""The polygon of an object of COCO: its parts joined, its mask traced, as Ultralytics' `convert_coco` does (8.4)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgecompile.data.coco_document import Annotation, Runs

MOST_DISTANCES = 1 << 22
"""Pairs of points that are compared at once."""


def outline(annotation: Annotation) -> list[float]:
    """Returns the corners x1 y1 x2 y2 ... of a polygon around an object, in pixels; none where it has no outline."""
    if annotation.runs is not None:
        found = cv2.findContours(mask_of(annotation.runs), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        parts = [contour.reshape(-1, 2).astype(np.float64) for contour in found if len(contour) >= 3]
    else:
        parts = [np.array(part, np.float64).reshape(-1, 2) for part in annotation.parts]
    joined = parts[0] if len(parts) == 1 else _joined(parts)
    return [float(value) for value in joined.ravel()]


def mask_of(runs: Runs) -> np.ndarray:
    """Returns uint8 (height, width): 1 in the object, else 0."""
    values = np.arange(len(runs.lengths), dtype=np.uint8) & 1
    return np.ascontiguousarray(np.repeat(values, runs.lengths).reshape(runs.width, runs.height).T)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns one polygon of all parts: each is entered and left at the points nearest to its neighbours in the list;
    the way goes along one side of every part to the last, and along the other sides back."""
    if not parts:
        return np.zeros((0, 2))
    bridges = [_nearest(parts[index], parts[index + 1]) for index in range(len(parts) - 1)]
    forth, back = [], []
    for index, part in enumerate(parts):
        inner = 0 < index < len(parts) - 1
        enter = bridges[index - 1][1] if index else bridges[0][0]
        leave = bridges[index][0] if inner else enter
        if enter > leave:
            part, enter, leave = part[::-1], len(part) - 1 - enter, len(part) - 1 - leave
        loop = np.roll(part, -enter, axis=0)
        loop = np.concatenate((loop, loop[:1]))
        forth.append(loop[: leave - enter + 1] if inner else loop)
        if inner:
            back.append(loop[leave - enter :])
    return np.concatenate((*forth, *reversed(back)))


def _nearest(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Returns the indices of the two points that are nearest to each other, the first such pair."""
    best, pair = np.inf, (0, 0)
    rows = max(MOST_DISTANCES // len(other), 1)
    for begin in range(0, len(one), rows):
        distances = ((one[begin : begin + rows, None] - other[None]) ** 2).sum(-1)
        at = int(distances.argmin())
        if distances.flat[at] < best:
            best = float(distances.flat[at])
            pair = (begin + at // len(other), at % len(other))
    return pair
