"""The boxes of labels, and what counts as a hit, equal Ultralytics' own."""

from __future__ import annotations

import numpy as np
import pytest

from edgecompile.data.corner_labels import CornerLabels
from edgecompile.evaluate.tasks.obb import Task, smallest_boxes
from edgecompile.runtime.tasks import _rotated
from edgecompile.runtime.tasks.obb import RotatedBoxes

SIZE = (200, 300)
"""Height and width of the picture."""


def turned_boxes(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre, sides = rng.uniform(60, 140, (count, 2)), rng.uniform(8, 60, (count, 2))
    return np.concatenate((centre, sides, rng.uniform(-4, 4, (count, 1))), 1).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_boxes_of_labels_equal_ultralytics(seed: int, ultralytics) -> None:
    from ultralytics.utils.ops import xyxyxyxy2xywhr

    corners = _rotated.corners(turned_boxes(seed, 40)).astype(np.float32)
    ours, theirs = smallest_boxes(corners), xyxyxyxy2xywhr(corners)
    np.testing.assert_allclose(ours[:, :4], theirs[:, :4], atol=1e-3)
    np.testing.assert_allclose(np.cos(2 * ours[:, 4]), np.cos(2 * theirs[:, 4]), atol=1e-4)
    np.testing.assert_allclose(np.sin(2 * ours[:, 4]), np.sin(2 * theirs[:, 4]), atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_hits_equal_ultralytics(seed: int, ultralytics) -> None:
    import torch
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import batch_probiou
    from ultralytics.utils.ops import xyxyxyxy2xywhr

    class Matcher:
        iouv = torch.linspace(0.5, 0.95, 10)

    rng = np.random.default_rng(seed)
    boxes = turned_boxes(seed, 9)
    classes = rng.integers(0, 2, len(boxes))
    shares = _rotated.corners(boxes) / np.array([SIZE[1], SIZE[0]], np.float32)
    labels = CornerLabels(classes, shares.astype(np.float32))
    near = np.repeat(boxes, 3, 0) + rng.normal(0, 1, (3 * len(boxes), 5)) * [3, 3, 3, 3, 0.1]
    scores = np.sort(rng.random(len(near)).astype(np.float32))[::-1].copy()
    found = RotatedBoxes(near.astype(np.float32), scores, np.repeat(classes, 3), ("a", "b"))
    truth = xyxyxyxy2xywhr(torch.from_numpy(labels.in_pixels(SIZE[1], SIZE[0])))
    alike = batch_probiou(truth, torch.from_numpy(found.xywhr))
    hits = BaseValidator.match_predictions(Matcher, torch.from_numpy(found.classes), torch.from_numpy(classes), alike)
    judged = Task().judge(found, labels, SIZE)[""]
    np.testing.assert_array_equal(judged.correct, hits.numpy())
    assert 0 < judged.correct.mean() < 1


def test_a_polygon_stands_for_the_smallest_box_around_it(ultralytics) -> None:
    import torch
    from ultralytics.utils.ops import xyxyxyxy2xywhr

    turn = np.linspace(0, 2 * np.pi, 7, endpoint=False)
    polygons = np.stack([np.stack((50 + 30 * np.cos(turn + at), 40 + 12 * np.sin(turn)), -1) for at in (0, 0.6, 2)])
    polygons = polygons.astype(np.float32)
    ours = smallest_boxes(np.pad(polygons, ((0, 0), (0, 3), (0, 0)), mode="edge"))  # as labels of several sizes stand
    theirs = xyxyxyxy2xywhr(torch.from_numpy(polygons)).numpy()
    np.testing.assert_allclose(ours[:, :4], theirs[:, :4], atol=1e-4)
    assert _rotated.overlaps(ours, theirs).diagonal().min() > 0.99


def test_the_page_draws_the_corners() -> None:
    golden = {"boxes": [[50, 40, 20, 10]], "angles": [np.pi / 2], "scores": [0.9], "classes": [1]}
    (outline,) = Task().outlines(golden)
    np.testing.assert_allclose(sorted(outline.corners), [(45, 30), (45, 50), (55, 30), (55, 50)])
    assert (outline.class_id, outline.score) == (1, 0.9)
