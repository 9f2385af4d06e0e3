"""Rotated boxes equal those of Ultralytics, function by function."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from edgecompile.runtime.tasks import _rotated


def random_boxes(seed: int, count: int, *, side: float = 300) -> np.ndarray:
    """Boxes of which many nearly cover each other; some are slivers, some have no area."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, side, (max(count // 8, 1), 2))
    boxes = np.concatenate(
        (
            centres[rng.integers(0, len(centres), count)] + rng.normal(0, 3, (count, 2)),
            np.exp(rng.uniform(np.log(2), np.log(120), (count, 2))),
            rng.uniform(-np.pi / 4, 3 * np.pi / 4, (count, 1)),
        ),
        axis=1,
    )
    boxes[::17, 3] = 0.01
    boxes[::23, 2:4] = 0
    boxes[::29] = boxes[0]
    return boxes.astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_likeness_equals_ultralytics(seed: int, ultralytics) -> None:
    import torch
    from ultralytics.utils.metrics import batch_probiou

    boxes, others = random_boxes(seed, 90), random_boxes(seed + 100, 70)
    theirs = batch_probiou(torch.from_numpy(boxes), torch.from_numpy(others)).numpy()
    ours = _rotated.overlaps(boxes, others)
    plain = (boxes[:, 2:4].min(1) > 1)[:, None] & (others[:, 2:4].min(1) > 1)[None]
    np.testing.assert_allclose(ours[plain], theirs[plain], atol=2e-5)
    assert ours.dtype == np.float32


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("iou", [0.05, 0.2, 0.45, 0.7, 0.95])
def test_suppression_equals_ultralytics(seed: int, iou: float, ultralytics) -> None:
    import torch
    from ultralytics.utils.metrics import batch_probiou
    from ultralytics.utils.nms import TorchNMS

    boxes = random_boxes(seed, 700)
    scores = torch.linspace(0.9, 0.1, len(boxes))
    theirs = TorchNMS.fast_nms(torch.from_numpy(boxes), scores, iou, iou_func=batch_probiou).numpy()
    ours = _rotated.suppress(boxes, iou, len(boxes))
    alike = np.triu(batch_probiou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy(), 1)
    unsure = np.flatnonzero((np.abs(alike - iou) < 1e-4).any(0))  # the last bit decides
    assert set(ours) - set(unsure) == set(theirs) - set(unsure)
    assert len(unsure) < len(boxes) / 4
    np.testing.assert_array_equal(_rotated.suppress(boxes, iou, 5), ours[:5])


@pytest.mark.parametrize("iou", [0.0, 0.3, 0.7, 1.0])
def test_pairs_that_are_not_compared_could_not_be_alike(iou: float, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = random_boxes(9, 900)
    ours = _rotated.suppress(boxes, iou, len(boxes))
    monkeypatch.setattr(_rotated, "_reach", lambda boxes, iou: np.full(len(boxes), np.inf, np.float32))
    np.testing.assert_array_equal(_rotated.suppress(boxes, iou, len(boxes)), ours)


def test_a_box_that_was_dropped_still_drops_others() -> None:
    boxes = np.array([[0, 0, 40, 20, 0], [6, 0, 40, 20, 0], [12, 0, 40, 20, 0]], np.float32)
    alike = _rotated.overlaps(boxes, boxes)
    between = float(alike[0, 1] + alike[0, 2]) / 2
    assert alike[0, 2] < between < alike[0, 1]
    assert _rotated.suppress(boxes, between, 10).tolist() == [0]
    assert _rotated.suppress(boxes[[0, 2]], between, 10).tolist() == [0, 1]  # greedy suppression would keep both


def test_boxes_of_different_classes_do_not_drop_each_other() -> None:
    output = np.zeros((4 + 2 + 1, 2), np.float32)
    output[:4] = np.array([[50, 50, 30, 10]], np.float32).T
    output[4, 0], output[5, 1], output[6] = 0.9, 0.8, 0.3
    chosen = {"conf": 0.25, "iou": 0.5, "max_det": 10, "multi_label": False}
    apart = _rotated.decode_rotated(output, class_agnostic=False, **chosen)
    assert apart.classes.tolist() == [0, 1]
    np.testing.assert_allclose(apart.boxes, [[50, 50, 30, 10]] * 2)
    np.testing.assert_allclose(apart.extras, [[0.3]] * 2)
    assert _rotated.decode_rotated(output, class_agnostic=True, **chosen).classes.tolist() == [0]


def test_corners_equal_ultralytics(ultralytics) -> None:
    from ultralytics.utils.ops import xywhr2xyxyxyxy

    boxes = random_boxes(3, 50)
    np.testing.assert_allclose(_rotated.corners(boxes), xywhr2xyxyxyxy(boxes), atol=1e-4)


@pytest.mark.slow
def test_memory_is_bounded_where_every_box_stays_a_candidate() -> None:
    boxes = random_boxes(5, 20_000, side=3000)
    tracemalloc.start()
    try:
        kept = _rotated.suppress(boxes, 0.9, len(boxes))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(kept) > 1000
    assert peak < 64e6  # all pairs at once would be 1.6 GB


def test_nothing_is_nothing() -> None:
    assert _rotated.suppress(np.empty((0, 5), np.float32), 0.5, 10).tolist() == []
    assert _rotated.corners(np.empty((0, 5), np.float32)).shape == (0, 4, 2)
