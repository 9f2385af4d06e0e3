"""Similarity of poses and what counts as a hit equal Ultralytics' own."""

from __future__ import annotations

import numpy as np
import pytest

from edgecompile.data import key_point_labels
from edgecompile.data.key_point_labels import COCO_SIGMAS, KeyPointLabels
from edgecompile.data.label_lines import LabelFacts, LabelLines
from edgecompile.errors import RecipeError, StepError
from edgecompile.evaluate.tasks import OutputFacts
from edgecompile.evaluate.tasks.pose import AREA_OF_BOX, Task, similarity
from edgecompile.runtime.tasks.pose import Poses

SIZE = (200, 300)


def random_picture(seed: int, count: int = 6, points: int = 5) -> tuple[KeyPointLabels, Poses]:
    """Labels of a picture, and poses near to them."""
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 0.6, (count, 2)), rng.uniform(0.05, 0.4, (count, 2))
    boxes = np.concatenate((corner, corner + side), 1).astype(np.float32)
    spots = np.concatenate(
        (corner[:, None] + rng.random((count, points, 2)) * side[:, None], rng.integers(0, 3, (count, points, 1))), 2
    ).astype(np.float32)
    classes = rng.integers(0, 2, count)
    labels = KeyPointLabels(classes, boxes, spots, (1 / points,) * points)
    scale = np.array([SIZE[1], SIZE[0]], np.float32)
    near = np.repeat(spots[..., :2], 2, 0) * scale + rng.normal(0, 4, (2 * count, points, 2))
    found = Poses(
        (np.repeat(boxes, 2, 0) * np.tile(scale, 2) + rng.normal(0, 3, (2 * count, 4))).astype(np.float32),
        np.sort(rng.random(2 * count).astype(np.float32))[::-1].copy(),
        np.repeat(classes, 2),
        ("a", "b"),
        np.concatenate((near, rng.random((2 * count, points, 1))), 2).astype(np.float32),
    )
    return labels, found


@pytest.mark.parametrize("seed", range(3))
def test_similarity_and_hits_equal_ultralytics(seed: int, ultralytics) -> None:
    import torch
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import kpt_iou

    class Matcher:
        iouv = torch.linspace(0.5, 0.95, 10)

    labels, found = random_picture(seed)
    height, width = SIZE
    points = labels.key_points * np.array([width, height, 1], np.float32)
    boxes = labels.boxes * np.array([width, height, width, height], np.float32)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) * AREA_OF_BOX
    theirs = kpt_iou(
        torch.from_numpy(points), torch.from_numpy(found.key_points), torch.from_numpy(areas), list(labels.sigmas)
    )
    np.testing.assert_allclose(similarity(points, boxes, labels.sigmas, found), theirs.numpy(), atol=1e-5)
    hits = BaseValidator.match_predictions(
        Matcher, torch.from_numpy(found.classes), torch.from_numpy(labels.classes), theirs
    )
    judged = Task().judge(found, labels, SIZE)
    np.testing.assert_array_equal(judged[""].correct, hits.numpy())
    assert 0 < judged[""].correct.mean() < 1
    assert list(judged) == ["", "box_"]


def test_sigmas_of_coco_are_those_of_ultralytics(ultralytics) -> None:
    from ultralytics.utils.metrics import OKS_SIGMA

    np.testing.assert_allclose(COCO_SIGMAS, OKS_SIGMA, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "stated", "expected"),
    [
        ((17, 3), None, COCO_SIGMAS),
        ((17, 2), None, (1 / 17,) * 17),
        ((2, 3), None, (0.5, 0.5)),
        ((2, 3), (0.1, 0.2), (0.1, 0.2)),
    ],
)
def test_sigmas_follow_the_shape_unless_stated(shape, stated, expected) -> None:
    facts = LabelFacts(3, shape, stated)
    assert key_point_labels.read_labels(LabelLines("a.txt"), facts).sigmas == pytest.approx(expected)


def test_a_point_that_is_not_labelled_does_not_count() -> None:
    labels, found = random_picture(1, count=1)
    far = found.key_points.copy()
    far[:, 0, :2] += 1000
    moved = Poses(found.boxes, found.scores, found.classes, found.names, far)
    scale = np.array([SIZE[1], SIZE[0], 1], np.float32)
    boxes = labels.boxes * np.tile(scale[:2], 2)
    alike = {}
    for visible in (0, 1):
        points = labels.key_points * scale
        points[:, :, 2], points[:, 0, 2] = 2, visible
        alike[visible] = [similarity(points, boxes, labels.sigmas, one) for one in (found, moved)]
    np.testing.assert_array_equal(*alike[0])
    assert (alike[1][1] < alike[1][0]).all()


def test_another_number_of_key_points_is_refused() -> None:
    labels, _ = random_picture(0, points=5)
    _, found = random_picture(0, points=4)
    with pytest.raises(RecipeError, match="puts out 4 key points of an object, and the data set labels 5"):
        Task().judge(found, labels, SIZE)


def test_spec_says_how_many_key_points() -> None:
    outputs = [OutputFacts("output0", (1, 18, 21))]
    described = Task().describe(outputs, "yolo", {"imgsz": [64, 96], "kpt_shape": [4, 3]})
    assert described["key_points"] == {"count": 4, "values": 3}
    with pytest.raises(StepError, match="kpt_shape"):
        Task().describe(outputs, "yolo", {"imgsz": [64, 96]})
