"""Mean average precision as Ultralytics' own validation computes it, in numpy.

How pictures are padded is not its business: figures compare with those of Ultralytics' `val` with `rect=False`.

COCO's evaluation (pycocotools, faster-coco-eval) agrees with it to 0.0002 where precision and recall end near the
middle, but averages 101 points of a staircase where Ultralytics integrates straight lines between them, which moves
single classes by 0.002 and a nearly perfect class by up to 0.005: as much as a gate allows. So it is written out here.

Sources: `ultralytics.engine.validator.BaseValidator.match_predictions`, `ultralytics.utils.metrics.box_iou`,
`compute_ap` and `ap_per_class` as published in ultralytics 8.4; the tests compare with those functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10).astype(np.float32)
"""The ten thresholds of mAP50-95; the first is that of mAP50. In float32, as overlaps are: 0.55 is then 0.55000001."""

_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class MatchedDetections:
    """The detections of one picture after comparison with what is really there.

    Attributes:
        correct: (n, 10) bool; whether each detection hits an object, at each of `IOU_THRESHOLDS`.
        scores: (n,) float32, falling.
        classes: (n,) int64.
        truth: (m,) int64, classes of the objects on the picture.
    """

    correct: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class ClassFigures:
    """Average precision of one class, over all thresholds and at IoU 0.5, and the number of its objects."""

    map50_95: float
    map50: float
    objects: int


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of each of `boxes` (m, 4) with each of `others` (n, 4), as (m, n) float32.

    Boxes are x1, y1, x2, y2 in any one unit. Two empty boxes overlap by 0, not by 0/0.
    """
    first = np.asarray(boxes, np.float32)[:, None]
    second = np.asarray(others, np.float32)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common = sides.clip(0).prod(-1)
    areas = (first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1)
    return common / (areas - common + np.float32(1e-7))


def match(overlaps: np.ndarray, scores: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> MatchedDetections:
    """Decides which detections of one picture hit an object.

    From the surest detection down, each takes the unclaimed object of its class that it overlaps most; it is a hit at
    every threshold which that overlap reaches. An object is claimed separately at each threshold.

    Args:
        overlaps: float32 (m, n) of the objects with the detections. Of boxes not cut at the border of the picture:
            Ultralytics scores them uncut, and cutting them lifts mAP50-95 by 0.01 where objects touch the border.
        scores: (n,).
        classes: (n,).
        truth: (m,) classes of the objects.
    """
    order = np.argsort(-scores, kind="stable")
    scores, classes = scores[order], classes[order]
    correct = np.zeros((len(scores), len(IOU_THRESHOLDS)), bool)
    if len(scores) and len(truth):
        shared = overlaps[:, order] * (truth[:, None] == classes)
        claimed = np.zeros((len(truth), len(IOU_THRESHOLDS)), bool)
        every = np.arange(len(IOU_THRESHOLDS))
        for index in np.flatnonzero((shared >= IOU_THRESHOLDS[0]).any(0)):
            free = np.where(claimed, 0, shared[:, index, None])
            best = free.argmax(0)
            correct[index] = free[best, every] >= IOU_THRESHOLDS
            claimed[best, every] |= correct[index]
    return MatchedDetections(correct, scores, classes, np.asarray(truth))


def average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """Returns the area under the precision envelope over 101 points of recall.

    Args:
        recall: (n,), rising; n may be 0.
        precision: (n,), at the same detections.
    """
    last = recall[-1] if len(recall) else 1.0
    recall = np.concatenate(([0.0], recall, [last, 1.0]))
    precision = np.concatenate(([1.0], precision, [0.0, 0.0]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    heights = np.interp(_RECALLS, recall, envelope)
    return float(((heights[1:] + heights[:-1]) / 2 * np.diff(_RECALLS)).sum())


def per_class(pictures: Iterable[MatchedDetections]) -> dict[int, ClassFigures]:
    """Returns the figures of every class of which the pictures show at least one object, by class number.

    Detections of equal score are taken in the order of the pictures. (Ultralytics leaves their order to an unstable
    sort, whose result depends on the instruction set.)
    """
    pictures = list(pictures)
    if not pictures:
        return {}
    correct, scores, classes, truth = (
        np.concatenate([getattr(picture, name) for picture in pictures])
        for name in ("correct", "scores", "classes", "truth")
    )
    order = np.argsort(-scores, kind="stable")
    correct, classes = correct[order], classes[order]
    numbers, objects = np.unique(truth, return_counts=True)
    figures = {}
    for number, count in zip(numbers, objects, strict=True):
        hits = correct[classes == number].astype(np.float64)
        true_positives = hits.cumsum(0)
        precision = true_positives / np.arange(1, len(hits) + 1)[:, None]
        recall = true_positives / (count + 1e-16)
        areas = [average_precision(recall[:, column], precision[:, column]) for column in range(hits.shape[1])]
        areas = areas if len(hits) else [0.0] * len(areas)
        figures[int(number)] = ClassFigures(float(np.mean(areas)), areas[0], int(count))
    return figures


def mean(figures: Sequence[ClassFigures]) -> tuple[float, float]:
    """Returns mAP50-95 and mAP50: the plain means over the classes; 0 where there are none."""
    if not figures:
        return 0.0, 0.0
    return float(np.mean([figure.map50_95 for figure in figures])), float(np.mean([figure.map50 for figure in figures]))
