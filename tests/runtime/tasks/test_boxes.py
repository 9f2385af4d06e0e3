from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from edgecompile.runtime.tasks._boxes import OutputError, decode_end2end, decode_yolo, suppress


def output(seed: int, classes: int, anchors: int, *, crowd: float = 40.0, sharp: float = 6.0) -> np.ndarray:
    """Returns a raw output (4 + classes, anchors) of overlapping boxes in clusters, no two scores equal."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 320, (max(anchors // 12, 1), 2))[rng.integers(0, max(anchors // 12, 1), anchors)]
    raw = np.empty((4 + classes, anchors), np.float32)
    raw[:2] = (centre + rng.normal(0, crowd / 8, (anchors, 2))).T
    raw[2:4] = rng.uniform(crowd / 2, crowd, (2, anchors))
    scores = rng.permutation(classes * anchors).reshape(classes, anchors) + 1.0
    raw[4:] = (scores / (classes * anchors + 1)) ** sharp
    return raw


def theirs(raw: np.ndarray, **settings: Any) -> np.ndarray:
    """Returns what Ultralytics makes of a raw output: x1, y1, x2, y2, score, class."""
    import torch
    from ultralytics.utils.nms import non_max_suppression

    tensor = torch.from_numpy(raw[None].copy())
    return non_max_suppression(tensor, max_time_img=1e3, **settings)[0].numpy()


def ours(
    raw: np.ndarray, conf_thres: float, iou_thres: float, max_det: int, agnostic: bool, multi_label: bool
) -> np.ndarray:
    boxes, scores, classes, _ = decode_yolo(
        raw, conf=conf_thres, iou=iou_thres, max_det=max_det, class_agnostic=agnostic, multi_label=multi_label
    )
    assert boxes.dtype == scores.dtype == np.float32
    assert classes.dtype == np.int64
    return np.column_stack((boxes, scores, classes)).astype(np.float32)


@pytest.mark.parametrize("classes", [1, 3, 80])
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("max_det", [1, 30, 300])
def test_equals_ultralytics(ultralytics: Any, classes: int, multi_label: bool, agnostic: bool, max_det: int) -> None:
    rng = np.random.default_rng(classes)
    found = 0
    most = 60 if classes == 80 else 500  # theirs takes seconds for many boxes
    for seed in range(8):
        raw = output(seed, classes, int(rng.integers(1, most)), sharp=float(rng.uniform(2, 12)))
        settings = {
            "conf_thres": float(rng.choice([0.001, 0.05, 0.25, 0.9])),
            "iou_thres": float(rng.choice([0.0, 0.3, 0.45, 0.7, 0.95])),
            "max_det": max_det,
            "agnostic": agnostic,
            "multi_label": multi_label,
        }
        wanted = theirs(raw, **settings)
        assert np.array_equal(ours(raw, **settings), wanted), (seed, settings)
        found += len(wanted)
    assert found


@pytest.mark.slow
def test_equals_ultralytics_where_more_than_the_most_candidates_compete(ultralytics: Any) -> None:
    raw = output(1, 5, 8000, sharp=0.5, crowd=200)  # 40,000 candidates above the threshold
    settings = {"conf_thres": 0.001, "iou_thres": 0.6, "max_det": 300, "agnostic": False, "multi_label": True}
    assert np.array_equal(ours(raw, **settings), theirs(raw, **settings))


@pytest.mark.parametrize("multi_label", [False, True])
def test_keeps_the_order_of_the_output_between_equal_scores(
    ultralytics: Any, multi_label: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision, which Ultralytics uses where it is there, sorts stably; its stand-in without torchvision leaves the
    order of ties to the machine. So the sort is made stable here."""
    import torch

    sort = torch.Tensor.argsort
    stable = lambda self, dim=-1, descending=False: sort(self, stable=True, dim=dim, descending=descending)  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "argsort", stable)
    for seed in range(20):
        raw = output(seed, 3, 300)
        raw[4:] = np.round(raw[4:] * 8) / 8  # a coarse grid, as bf16 and INT8 make
        raw[:4] = np.round(raw[:4] / 4) * 4
        settings = {
            "conf_thres": 0.1,
            "iou_thres": 0.5,
            "max_det": 300,
            "agnostic": seed % 2 == 0,
            "multi_label": multi_label,
        }
        assert np.array_equal(ours(raw, **settings), theirs(raw, **settings)), seed


def one_by_one(boxes: np.ndarray, iou: float) -> list[int]:
    """The definition of greedy suppression, pair by pair."""
    kept: list[int] = []
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        for other in kept:
            u1, v1, u2, v2 = boxes[other]
            zero = np.float32(0)
            inter = max(min(x2, u2) - max(x1, u1), zero) * max(min(y2, v2) - max(y1, v1), zero)
            union = (u2 - u1) * (v2 - v1) + (x2 - x1) * (y2 - y1) - inter
            if union and inter / union > np.float32(iou):
                break
        else:
            kept.append(index)
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 257, 700])
def test_blocks_suppress_as_one_by_one(count: int) -> None:
    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 90, (count, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(0, 25, (count, 2))), 1).astype(np.float32)
    boxes[::7, 2:] = boxes[::7, :2]  # some have no area
    wanted = one_by_one(boxes, 0.4)
    assert suppress(boxes, 0.4, 10_000).tolist() == wanted
    assert suppress(boxes, 0.4, 5).tolist() == wanted[:5]
    assert count < 255 or len(wanted) < count


def test_nothing_above_the_threshold_is_nothing() -> None:
    boxes, scores, classes, _ = decode_yolo(output(0, 3, 50) * 0, conf=0.1, iou=0.7, max_det=300)
    assert boxes.shape == (0, 4)
    assert scores.shape == classes.shape == (0,)
    boxes, scores, classes, _ = decode_yolo(output(0, 3, 50)[:, :0].reshape(7, 0), conf=0.1, iou=0.7, max_det=300)
    assert boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("row", "value", "message"),
    [
        (0, np.nan, "the box (nan, "),
        (3, np.inf, "the box ("),
        (2, 1e9, "expected numbers within 1e+06 pixels"),
        (4, np.nan, "the score nan, expected 0..1"),
        (6, np.inf, "the score inf, expected 0..1"),
        (5, 7.0, "the score 7, expected 0..1"),
        (5, 1.02, "the score 1.02, expected 0..1"),
    ],
)
def test_outputs_that_are_no_detections_are_errors(row: int, value: float, message: str) -> None:
    """Also where only one anchor of thousands, and not the best class of it, holds such a number."""
    raw = output(0, 3, 5000)
    raw[4:, 123] = 0.9
    raw[row, 123] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OutputError) as caught:
            decode_yolo(raw, conf=0.1, iou=0.5, max_det=300)
    assert message in str(caught.value)


def test_scores_that_are_logits_are_errors() -> None:
    raw = output(0, 3, 50)
    raw[4:] = -3.0
    with pytest.raises(OutputError, match="the score -3, expected"):
        decode_yolo(raw, conf=0.1, iou=0.5, max_det=300)


def test_numbers_that_nobody_reads_and_rounding_are_no_errors() -> None:
    raw = output(0, 3, 50)
    wanted = decode_yolo(raw, conf=0.1, iou=0.5, max_det=300)
    dead = output(1, 3, 10)
    dead[:4], dead[4:] = np.nan, 0.0
    found = decode_yolo(np.concatenate((raw, dead), axis=1), conf=0.1, iou=0.5, max_det=300)
    assert all(np.array_equal(*pair) for pair in zip(found, wanted, strict=True))
    raw[4, 0], raw[5, 1] = 1.004, -0.004
    assert decode_yolo(raw, conf=0.1, iou=0.5, max_det=300)[1][0] == np.float32(1.004)
    assert not len(decode_yolo(raw[:, :0], conf=0.1, iou=0.5, max_det=300)[0])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, np.nan, "the box (nan, "),
        (4, np.nan, "the score nan"),
        (4, 7.0, "the score 7"),
        (4, -1.0, "the score -1"),
        (5, np.nan, "the class nan, expected 0..2"),
        (5, 3.0, "the class 3, expected 0..2"),
        (5, -1.0, "the class -1, expected 0..2"),
    ],
)
def test_rows_that_are_no_detections_are_errors(column: int, value: float, message: str) -> None:
    rows = np.zeros((300, 6), np.float32)
    rows[:2] = [[1, 2, 3, 4, 0.9, 2], [1, 2, 3, 4, 0.8, 0]]
    assert len(decode_end2end(rows, conf=0.1, max_det=300, classes=3)[0]) == 2
    rows[1, column] = value
    with pytest.raises(OutputError) as caught:
        decode_end2end(rows, conf=0.1, max_det=300, classes=3)
    assert message in str(caught.value)
    rows = np.delete(rows, 1, 0)
    rows[100:, [0, 5]] = [np.nan, 7]  # padding below the threshold
    assert len(decode_end2end(rows, conf=0.1, max_det=300, classes=3)[0]) == 1


def test_half_precision_outputs_become_float() -> None:
    boxes, scores, *_ = decode_yolo(output(0, 3, 50).astype(np.float16), conf=0.1, iou=0.5, max_det=300)
    assert boxes.dtype == scores.dtype == np.float32


def test_end2end_equals_ultralytics(ultralytics: Any) -> None:
    rng = np.random.default_rng(2)
    rows = rng.uniform(0, 320, (300, 6)).astype(np.float32)
    rows[:, 4] = np.sort(rng.random(300))[::-1]
    rows[:, 5] = rng.integers(0, 80, 300)
    for conf, max_det in ((0.25, 300), (0.001, 20), (1.0, 300)):
        boxes, scores, classes, _ = decode_end2end(rows, conf=conf, max_det=max_det, classes=80)
        wanted = theirs(rows, conf_thres=conf, max_det=max_det)
        assert np.array_equal(np.column_stack((boxes, scores, classes)).astype(np.float32), wanted)
        assert classes.dtype == np.int64
