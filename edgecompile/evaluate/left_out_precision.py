"""Mean average precision without each of many groups of pictures, all at once.

The envelope of precision, whose area is the average precision, is decided by hits alone: between two hits, precision
only falls, and to less than the next hit reaches or the envelope gives. So it is enough to know, for each hit, how many
hits and how many detections stand before it once a group is left out. Equal to `average_precision.per_class` on the
remaining pictures, up to the order of summation.
"""

from __future__ import annotations

import numpy as np

from edgecompile.evaluate.average_precision import IOU_THRESHOLDS

_RECALLS = np.linspace(0, 1, 101)
_WEIGHTS = np.concatenate(([0.5], np.ones(99), [0.5])) / 100
"""By which heights at `_RECALLS` sum up to the area under straight lines between them."""
_BLOCK = 2_000_000
"""Hits times groups that are held at once: 16 MB an array."""


def mean_without(
    hits: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    groups: np.ndarray,
    truth: np.ndarray,
    truth_groups: np.ndarray,
    count: int,
) -> np.ndarray:
    """Returns mAP50-95 without each group, float64 (count,); 0 where no object remains.

    Args:
        hits: bool (n, 10), whether detections hit an object at each of `IOU_THRESHOLDS`, in the order of the pictures.
        scores: (n,).
        classes: (n,).
        groups: (n,) the group of the picture of each.
        truth: (m,) classes of the objects.
        truth_groups: (m,) the group of the picture of each.
        count: groups. One that has no picture stands for all pictures.
    """
    order = np.argsort(-scores, kind="stable")
    hits, classes, groups = hits[order], classes[order], groups[order]
    sums, shown = np.zeros(count), np.zeros(count)
    for number in np.unique(truth):
        own = classes == number
        objects = (truth == number).sum() - np.bincount(truth_groups[truth == number], minlength=count)
        areas = _areas(hits[own], groups[own], objects)
        sums += np.where(objects > 0, areas, 0)
        shown += objects > 0
    return sums / np.maximum(shown, 1)


def _areas(hits: np.ndarray, groups: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Returns the average precision of one class without each group, the mean over the thresholds, float64 (count,).

    Args:
        hits: bool (n, 10), of the class, best first.
        groups: (n,).
        objects: (count,) that remain without each group.
    """
    count = len(objects)
    areas = np.zeros(count)
    block = max(_BLOCK // max(int(hits.any(1).sum()), 1), 1)
    for start in range(0, count, block):
        left_out = np.arange(start, min(start + block, count))
        ordinals = _ordinals(objects[left_out])
        total = np.zeros(len(left_out))
        for column in hits.T:
            places = np.flatnonzero(column)
            before = _ranks(places, groups, left_out)
            total += _area(before, groups[places] != left_out[:, None], ordinals)
        areas[left_out] = total / len(IOU_THRESHOLDS)
    return areas


def _ranks(places: np.ndarray, groups: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Returns how many detections stand up to each hit without each group, int64 (groups, hits).

    Args:
        places: (hits,) of the hits among the detections of a class.
        groups: (n,) of these detections.
        left_out: (groups,) their numbers.
    """
    by_group = np.argsort(groups, kind="stable")
    bounds = np.searchsorted(groups[by_group], [left_out, left_out + 1])
    gone = [np.searchsorted(by_group[first:last], places, side="right") for first, last in bounds.T]
    return places + 1 - np.stack(gone)


def _ordinals(objects: np.ndarray) -> np.ndarray:
    """Returns the number, from 1, of the first hit whose recall exceeds each of `_RECALLS`, int64 (groups, 101).

    Args:
        objects: (groups,).
    """
    count = np.maximum(objects, 1)[:, None]
    near = np.floor(_RECALLS * count).astype(np.int64)  # off by one where rounding has it so, which recalls decide
    near -= near / count > _RECALLS
    near += (near + 1) / count <= _RECALLS
    return near + 1


def _area(ranks: np.ndarray, kept: np.ndarray, ordinals: np.ndarray) -> np.ndarray:
    """Returns the area under the envelope without each group, float64 (groups,).

    Args:
        ranks: (groups, hits); see `_ranks`.
        kept: bool (groups, hits), whether each hit remains.
        ordinals: (groups, 101); see `_ordinals`.
    """
    groups, hits = kept.shape
    if not hits:
        return np.zeros(groups)
    reached = kept.cumsum(1)
    precision = np.where(kept, reached / np.maximum(ranks, 1), 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # Each row of `reached` rises; shifted apart, all rows rise as one, and a single search serves all groups.
    apart = np.arange(groups)[:, None] * (hits + 1)
    found = np.searchsorted((reached + apart).ravel(), (np.minimum(ordinals, hits + 1) + apart).ravel())
    columns = found.reshape(ordinals.shape) - np.arange(groups)[:, None] * hits
    padded = np.concatenate((envelope, np.zeros((groups, 1))), axis=1)
    rows = np.arange(groups)[:, None]
    heights = padded[rows, np.where(ordinals > reached[:, -1:], hits, columns)]
    return heights @ _WEIGHTS
