"""From the model's raw output to boxes: threshold and non-maximum suppression; and how two outputs are paired.

What a task puts out beside a box (coefficients of a mask, key points) stands behind its class scores, and goes with it.

Results equal those of Ultralytics' `non_max_suppression`, ties and rounding included: the arithmetic is float32 in the
same order, boxes of different classes are kept apart by the same offset, and equal scores keep the order of the output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from edgecompile.runtime.tasks import OutputError

MOST_CANDIDATES = 30_000
"""Most boxes that enter the suppression: those with the best scores."""
CLASS_OFFSET = 7680
"""Pixels by which the boxes of each class are moved away from those of the class before it."""
BLOCK = 256
"""Boxes judged against each other at a time: bounds the memory of the suppression."""

SCORE_SLACK = 0.01
"""How far beyond 0..1 a score may lie: rounding of 8 bits."""
FARTHEST = 1e6
"""Pixels from the frame's corner within which the corners of a box lie."""


class Boxes(NamedTuple):
    """What was chosen of an output, best first.

    Attributes:
        boxes: float32 (n, 4) as x1 y1 x2 y2.
        scores: float32 (n,).
        classes: int64 (n,).
        extras: float32 (n, m): what the model puts out for each box beside it.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    extras: np.ndarray

    def at(self, kept: np.ndarray) -> Boxes:
        """Returns the boxes of these indices.

        Raises:
            OutputError: one of them, or what goes with it, is invalid.
        """
        chosen = Boxes(*(column[kept] for column in self))
        _require_boxes(chosen.boxes)
        _require_numbers(chosen.extras)
        return chosen


def decode_end2end(rows: np.ndarray, *, conf: float, max_det: int, classes: int) -> Boxes:
    """Reads an output of (boxes, 6 + extras): the model has done the suppression, so only the threshold remains.

    Raises:
        OutputError: a score is not in 0..1, or a chosen box or class is invalid.
    """
    _require_scores(rows[:, 4])
    rows = rows[rows[:, 4] > conf][:max_det].astype(np.float32)
    _require_boxes(rows[:, :4])
    numbers = rows[:, 5]
    wrong = numbers[~((numbers >= 0) & (numbers < classes))]
    if len(wrong):
        raise OutputError(f"the class {wrong[0]:g}, expected 0..{classes - 1}")
    _require_numbers(rows[:, 6:])
    return Boxes(rows[:, :4], rows[:, 4], numbers.astype(np.int64), rows[:, 6:])


def decode_yolo(
    output: np.ndarray,
    *,
    conf: float,
    iou: float,
    max_det: int,
    class_agnostic: bool = False,
    multi_label: bool = False,
    extras: int = 0,
) -> Boxes:
    """Reads an output of (4 + classes + extras, anchors) and suppresses overlapping boxes.

    Args:
        conf: scores must be above it.
        iou: boxes that overlap a better box of their class by more are dropped.
        max_det: most boxes returned.
        class_agnostic: boxes also drop lesser boxes of other classes.
        multi_label: a box stands once for each class above `conf`, as in validation, not only for its best.
        extras: how many values stand behind the class scores.

    Returns:
        Boxes in input pixels, best first.

    Raises:
        OutputError: a score is not in 0..1, or a chosen box or what goes with it is invalid.
    """
    found = candidates(output, conf=conf, multi_label=multi_label, extras=extras)
    boxes = corners_of(found.boxes)
    apart = boxes if class_agnostic else boxes + offsets(found.classes)[:, None]
    kept = suppress(apart, iou, max_det)
    return found._replace(boxes=boxes).at(kept)


def candidates(output: np.ndarray, *, conf: float, multi_label: bool, extras: int) -> Boxes:
    """Returns the boxes that enter the suppression, best first: centre x, centre y, width, height in input pixels.

    Args:
        output: (4 + classes + extras, anchors).
        conf, multi_label, extras: as for `decode_yolo`.

    Raises:
        OutputError: a score is not in 0..1.
    """
    end = len(output) - extras
    scores = output[4:end]
    best = scores.max(axis=0)
    _require_scores(best)
    chosen = np.flatnonzero(best > conf)
    if multi_label and len(scores) > 1:
        rows, classes = np.nonzero((scores[:, chosen] > conf).T)
        chosen = chosen[rows]
        confidence = scores[classes, chosen]
    else:
        classes = scores[:, chosen].argmax(axis=0)
        confidence = best[chosen]
    confidence = confidence.astype(np.float32, copy=False)
    order = np.argsort(-confidence, kind="stable")[:MOST_CANDIDATES]
    chosen = chosen[order]
    boxes, rest = (output[rows, chosen].T.astype(np.float32, copy=False) for rows in (slice(4), slice(end, None)))
    return Boxes(boxes, confidence[order], classes[order].astype(np.int64, copy=False), rest)


def offsets(classes: np.ndarray) -> np.ndarray:
    """Returns by how many pixels boxes of each class are moved, so that those of different classes never overlap."""
    return (classes * CLASS_OFFSET).astype(np.float32)


def _require_scores(best: np.ndarray) -> None:
    """Demands that the best scores of all anchors lie in 0..1. A NaN of any class is the best of its anchor, and the
    least and the greatest of all: two passes over the anchors see everything."""
    if not len(best):
        return
    least, greatest = best.min(), best.max()
    if not (least >= -SCORE_SLACK and greatest <= 1 + SCORE_SLACK):
        raise OutputError(f"the score {least if greatest <= 1 + SCORE_SLACK else greatest:g}, expected 0..1")


def _require_boxes(boxes: np.ndarray) -> None:
    """Demands that boxes are numbers, and lie where a picture can be: NaN is not less than anything."""
    if not np.abs(boxes).max(initial=0.0) <= FARTHEST:
        worst = boxes[~(np.abs(boxes) <= FARTHEST).all(axis=1)][0]
        numbers = ", ".join(f"{value:g}" for value in worst)
        raise OutputError(f"the box ({numbers}), expected numbers within {FARTHEST:g} pixels")


def _require_numbers(extras: np.ndarray) -> None:
    if not np.isfinite(extras).all():
        raise OutputError("numbers beside a box that are not finite")


def corners_of(boxes: np.ndarray) -> np.ndarray:
    """Turns centre x, centre y, width, height into x1, y1, x2, y2."""
    half = boxes[:, 2:] / 2
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)


def suppress(boxes: np.ndarray, iou: float, max_det: int) -> np.ndarray:
    """Returns the indices of the boxes that no better box overlaps by more than `iou`, at most `max_det`.

    Args:
        boxes: float32 (n, 4), x1 y1 x2 y2, best first.
    """
    columns = np.ascontiguousarray(boxes.T)
    areas = (columns[2] - columns[0]) * (columns[3] - columns[1])
    kept = np.empty(0, np.intp)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # boxes without area, or not finite
        for start in range(0, len(boxes), BLOCK):
            block = np.arange(start, min(start + BLOCK, len(boxes)))
            if len(kept):
                block = block[~_overlap(columns, areas, kept, block, iou).any(axis=0)]
            kept = np.concatenate((kept, block[_greedy(_overlap(columns, areas, block, block, iou))]))
            if len(kept) >= max_det:
                break
    return kept[:max_det]


def _overlap(columns: np.ndarray, areas: np.ndarray, better: np.ndarray, lesser: np.ndarray, iou: float) -> np.ndarray:
    """Returns bool (better, lesser): whether intersection over union of each pair is above `iou`."""
    x1, y1, x2, y2 = columns[:, better, None]
    u1, v1, u2, v2 = columns[:, None, lesser]
    width = np.minimum(x2, u2)
    width -= np.maximum(x1, u1)
    height = np.minimum(y2, v2)
    height -= np.maximum(y1, v1)
    inter = np.maximum(width, 0, out=width)
    inter *= np.maximum(height, 0, out=height)
    union = areas[better, None] + areas[None, lesser]
    union -= inter
    inter /= union
    return inter > np.float32(iou)


def _greedy(overlap: np.ndarray) -> list[int]:
    """Returns which of n boxes, best first, remain when each remaining box drops those it overlaps: bool (n, n).

    Rows are held as integers of n bits: one operation drops all that a box overlaps.
    """
    rows = np.packbits(overlap, axis=1, bitorder="little")
    width, content = rows.shape[1], rows.tobytes()
    dropped, kept = 0, []
    for index in range(len(overlap)):
        if not dropped >> index & 1:
            kept.append(index)
            dropped |= int.from_bytes(content[index * width : (index + 1) * width], "little")
    return kept


def paired_rows(
    reference: np.ndarray, other: np.ndarray, conf: float, corners: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows box, score, class of `reference` with a score of `conf` or more, the best first, and the rows of
    `other` that match them.

    Args:
        corners: returns x1, y1, x2, y2 of boxes (n, 4) as they stand in the rows.
    """
    sure = reference[reference[:, 4] >= conf]
    shared = overlaps(corners(sure[:, :4]), corners(other[:, :4])) * (sure[:, None, 5] == other[None, :, 5])
    rows = np.zeros_like(sure)
    for index in range(len(sure)):
        best = int(shared[index].argmax())
        if shared[index, best] > 0:
            rows[index] = other[best]
            shared[:, best] = 0
    return sure, rows


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of each of `boxes` (m, 4) with each of `others` (n, 4), as (m, n)."""
    first, second = boxes[:, None], others[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common = sides.clip(0).prod(-1)
    areas = (first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1)
    return common / np.maximum(areas - common, 1e-7)
