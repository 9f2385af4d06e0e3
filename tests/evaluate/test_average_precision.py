"""The metric equals Ultralytics' own, function by function and figure by figure."""

from __future__ import annotations

import numpy as np
import pytest

from edgecompile.evaluate import average_precision

CLASSES = 4


def compare(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, truth_boxes: np.ndarray, truth: np.ndarray
) -> average_precision.MatchedDetections:
    shared = average_precision.overlaps(truth_boxes, boxes)
    return average_precision.match(shared, scores, classes, truth)


def random_pictures(seed: int, pictures: int = 12) -> list[dict[str, np.ndarray]]:
    """Pictures with 0 to 9 objects each; detections are objects moved a little, some of a wrong class, and noise."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(pictures):
        count = int(rng.integers(0, 10))
        corner, side = rng.uniform(0, 250, (count, 2)), rng.uniform(5, 80, (count, 2))
        truth = np.concatenate((corner, corner + side), 1).astype(np.float32)
        classes = rng.integers(0, CLASSES, count)
        repeat = rng.integers(0, 3, count)
        near = np.repeat(truth, repeat, 0) + rng.normal(0, 4, (repeat.sum(), 4)).astype(np.float32)
        noise = np.sort(rng.uniform(0, 320, (int(rng.integers(0, 6)), 2, 2)), 1).reshape(-1, 4)
        boxes = np.concatenate((near, noise)).astype(np.float32)
        wrong = rng.random(len(boxes)) < 0.15
        guessed = np.concatenate((np.repeat(classes, repeat), rng.integers(0, CLASSES, len(noise))))
        guessed = np.where(wrong, rng.integers(0, CLASSES, len(boxes)), guessed)
        scores = np.sort(rng.random(len(boxes)).astype(np.float32))[::-1].copy()
        made.append({"boxes": boxes, "scores": scores, "classes": guessed, "truth_boxes": truth, "truth": classes})
    return made


@pytest.mark.parametrize("seed", range(5))
def test_equals_ultralytics_on_random_detections(seed, ultralytics):
    """Matching, average precision and means: bit by bit the same as the published functions give."""
    import torch
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import DetMetrics, box_iou

    class Matcher:
        iouv = torch.linspace(0.5, 0.95, 10)

    pictures = random_pictures(seed)
    judged = [compare(**picture) for picture in pictures]
    theirs = DetMetrics(names={number: str(number) for number in range(CLASSES)})
    for picture, ours in zip(pictures, judged, strict=True):
        tensors = {name: torch.from_numpy(value) for name, value in picture.items()}
        shared = box_iou(tensors["truth_boxes"], tensors["boxes"])
        correct = BaseValidator.match_predictions(Matcher, tensors["classes"], tensors["truth"], shared).numpy()
        np.testing.assert_array_equal(ours.correct, correct)
        stats = {"tp": correct, "conf": picture["scores"], "pred_cls": picture["classes"]}
        truth = {"target_cls": picture["truth"], "target_img": np.unique(picture["truth"]), "im_name": "picture"}
        theirs.update_stats({**stats, **truth})
    theirs.process()

    figures = average_precision.per_class(judged)
    assert list(figures) == theirs.box.ap_class_index.tolist()
    assert [one.map50_95 for one in figures.values()] == pytest.approx(theirs.box.ap.tolist(), abs=1e-12)
    assert [one.map50 for one in figures.values()] == pytest.approx(theirs.box.ap50.tolist(), abs=1e-12)
    assert average_precision.mean(list(figures.values())) == pytest.approx(
        (theirs.box.map, theirs.box.map50), abs=1e-12
    )


def test_thresholds_are_those_of_ultralytics(ultralytics):
    import torch

    np.testing.assert_array_equal(average_precision.IOU_THRESHOLDS, torch.linspace(0.5, 0.95, 10).numpy())


def test_cocos_own_evaluation_says_nearly_the_same():
    """A cross-check by an independent program, whose figures differ by less than 0.01 (see `metric`)."""
    coco = pytest.importorskip("faster_coco_eval")
    pictures = random_pictures(7, pictures=60)
    truth = {"images": [], "annotations": [], "categories": [{"id": n, "name": str(n)} for n in range(CLASSES)]}
    found = []
    for index, picture in enumerate(pictures):
        truth["images"].append({"id": index, "width": 400, "height": 400})
        for box, number in zip(picture["truth_boxes"].astype(float), picture["truth"], strict=True):
            bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            entry = {"id": len(truth["annotations"]) + 1, "image_id": index, "category_id": int(number)}
            truth["annotations"].append({**entry, "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": 0})
        for box, score, number in zip(
            picture["boxes"].astype(float), picture["scores"], picture["classes"], strict=True
        ):
            bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            found.append({"image_id": index, "category_id": int(number), "score": float(score), "bbox": bbox})
    silent = coco.COCO(truth)
    judge = coco.COCOeval_faster(silent, silent.loadRes(found), "bbox", print_function=lambda *_: None)
    judge.run()
    ours = average_precision.mean(
        list(average_precision.per_class(compare(**picture) for picture in pictures).values())
    )
    assert ours == pytest.approx((judge.stats[0], judge.stats[1]), abs=0.01)
    assert ours[1] > 0.25


def test_perfect_detections_reach_one_and_none_reach_zero():
    truth = np.array([[10, 10, 50, 60], [100, 20, 160, 90]], np.float32)
    kinds = np.array([0, 2])
    perfect = compare(truth, np.array([0.9, 0.8], np.float32), kinds, truth, kinds)
    figures = average_precision.per_class([perfect])
    assert average_precision.mean(list(figures.values())) == pytest.approx((1.0, 1.0), abs=0.006)
    assert {number: one.objects for number, one in figures.items()} == {0: 1, 2: 1}

    nothing = compare(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int), truth, kinds)
    assert average_precision.mean(list(average_precision.per_class([nothing]).values())) == (0.0, 0.0)


def test_a_picture_without_objects_counts_as_background():
    """A detection on an empty picture is a false alarm and costs precision."""
    truth, kinds = np.array([[10, 10, 50, 60]], np.float32), np.array([0])
    hit = compare(truth, np.array([0.5], np.float32), kinds, truth, kinds)
    alarm = compare(truth, np.array([0.9], np.float32), kinds, np.zeros((0, 4), np.float32), np.zeros(0, int))
    alone = average_precision.per_class([hit])[0].map50
    assert average_precision.per_class([hit, alarm])[0].map50 == pytest.approx(alone / 2, abs=0.01)


def test_no_pictures_and_no_objects_are_zero_not_an_error():
    assert average_precision.per_class([]) == {}
    assert average_precision.mean([]) == (0.0, 0.0)
    boxes, numbers = np.zeros((0, 4), np.float32), np.zeros(0, int)
    empty = compare(boxes, np.zeros(0, np.float32), numbers, boxes, numbers)
    assert average_precision.per_class([empty]) == {}


def test_each_object_is_claimed_once():
    """Two detections of one object: the surer one is right, the other wrong, whatever order they come in."""
    truth, kinds = np.array([[0, 0, 100, 100]], np.float32), np.array([1])
    boxes = np.array([[0, 0, 100, 98], [0, 0, 100, 100]], np.float32)
    judged = compare(boxes, np.array([0.3, 0.6], np.float32), np.array([1, 1]), truth, kinds)
    assert judged.correct.all(1).tolist() == [True, False]
    assert judged.scores.tolist() == pytest.approx([0.6, 0.3])


def test_equal_scores_keep_the_order_of_pictures():
    truth, kinds = np.array([[0, 0, 100, 100]], np.float32), np.array([0])
    away = truth + 500
    score = np.array([0.5], np.float32)
    hit, miss = (
        compare(truth, score, kinds, truth, kinds),
        compare(away, score, kinds, truth, kinds),
    )
    assert average_precision.per_class([hit, miss])[0].map50 > average_precision.per_class([miss, hit])[0].map50
