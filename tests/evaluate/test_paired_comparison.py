"""Two evaluations are compared picture by picture: what a threshold shows, and how far scores moved."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgecompile.evaluate.evidence import gathered, save_evidence
from edgecompile.evaluate.paired_comparison import compare, drop_error
from edgecompile.evaluate.score_changes import matched_shifts
from edgecompile.evaluate.tasks import find_task
from edgecompile.evaluate.tasks.classify import RankedLabel
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.tasks.classify import Classification

from .drawn_evidence import drawn

SPEC = {
    "schema": 1,
    "task": "detect",
    "input": {"name": "images", "shape": [1, 3, 64, 64], "color": "RGB", "layout": "NCHW", "dtype": "float32",
              "scale": 255, "mean": [0, 0, 0], "std": [1, 1, 1]},
    "letterbox": {"size": [64, 64], "fill": 114, "center": True, "scale_up": True, "interpolation": "linear"},
    "output": {"name": "output0", "shape": [1, 7, 84], "decode": "yolo"},
    "nms": {"conf": 0.25, "iou": 0.7, "max_det": 300, "class_agnostic": False},
    "names": ["a", "b", "c"],
}  # fmt: skip
SETTINGS = {"conf": 0.001, "iou": 0.7, "max_det": 300}


@pytest.fixture
def compared(tmp_path):
    """Compares two evaluations that lie in folders, as the step does."""

    def run(before, after, settings=SETTINGS):
        folders = []
        for name, evidence in (("reference", before), ("artifact", after)):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            save_evidence(folder, evidence)
            folders.append(folder)
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps(SPEC))
        return compare(tmp_path, reference=folders[0], artifact=folders[1], spec=spec, settings=settings)

    return run


def test_a_shift_of_all_scores_is_seen_where_average_precision_sees_none(compared):
    """All scores fall by 0.05, none to the end of the scale: the ranking stays, and so does the accuracy."""
    before, after = (drawn(30, 0.0, shift=shift, stray=0)[0] for shift in (0.0, -0.05))
    assert after["scores"].min() > 0.01
    facts = compared(before, after)
    assert facts["drop_error"] == {"standard_error": 0.0, "groups": 30, "same": False}
    scores = facts["scores"]
    assert scores["median_shift"] == pytest.approx(-0.05, abs=1e-5)
    assert scores["largest_shift"] == pytest.approx(0.05, abs=1e-5)
    assert scores["matched"] == scores["reference"]["found"] > scores["artifact"]["found"] > 100


def test_equal_models_have_equal_scores_and_nothing_to_prove(compared):
    one, _ = drawn(30, 0.0)
    facts = compared(one, one)
    assert facts["drop_error"] == {"standard_error": 0.0, "groups": 30, "same": True}
    assert (facts["scores"]["median_shift"], facts["scores"]["largest_shift"]) == (0.0, 0.0)
    assert facts["scores"]["reference"] == facts["scores"]["artifact"]
    moved = compared(one, drawn(30, 0.01)[0])
    assert not moved["drop_error"]["same"]
    assert moved["drop_error"]["standard_error"] > 0


def test_what_a_threshold_shows_is_counted_by_hand(compared):
    before, judged = drawn(20, 0.0)
    scores = compared(before, before)["scores"]
    sure = [one.scores >= 0.25 for one in judged]
    found = sum(int(one.sum()) for one in sure)
    right = sum(int(one.correct[keep, 0].sum()) for one, keep in zip(judged, sure, strict=True))
    objects = sum(len(one.truth) for one in judged)
    assert scores["threshold"] == 0.25
    assert scores["reference"] == {
        "found": found, "precision": round(right / found, 6), "recall": round(right / objects, 6)
    }  # fmt: skip
    higher = compared(before, before, {**SETTINGS, "conf": 0.5})["scores"]
    assert higher["threshold"] == 0.5
    assert higher["reference"]["found"] < found


def test_objects_are_matched_by_class_and_overlap_once_each():
    from edgecompile.evaluate.average_precision import overlaps

    boxes = np.array([[0, 0, 10, 10], [100, 0, 110, 10]], np.float32)
    before = (np.array([0.9, 0.8], np.float32), np.array([0, 1]), boxes)

    def shifts(scores, classes, places, threshold=0.25):
        after = (np.array(scores, np.float32), np.array(classes), np.array(places, np.float32))
        return matched_shifts(before, after, threshold, overlaps).tolist()

    assert shifts([0.1, 0.7], [0, 1], boxes) == pytest.approx([-0.8, -0.1])  # also what sank below the threshold
    assert shifts([0.7, 0.7], [1, 0], boxes) == []  # of the other class
    assert shifts([0.7, 0.7], [0, 1], boxes + np.array([6, 0, 6, 0])) == []  # an overlap of a quarter
    assert shifts([0.7, 0.6], [0, 0], boxes[[0, 0]]) == pytest.approx([-0.2])
    assert shifts([0.7, 0.6], [0, 1], boxes, threshold=0.85) == pytest.approx([-0.2])
    assert shifts([], [], np.zeros((0, 4))) == []


def classified(probabilities: np.ndarray, labels: list[str | None]):
    """Returns the evidence of a classifier on pictures with labels."""
    task, names = find_task("classify"), ("a", "b")
    kept = []
    for row, label in zip(probabilities, labels, strict=True):
        ranked = [names[number] for number in np.argsort(-row, kind="stable")]
        judged = RankedLabel(label, ranked.index(label) if label else None)
        kept.append(task.evidence(Classification(row.astype(np.float32), names, 2), judged))
    return gathered(kept)


def test_of_a_classifier_the_probability_of_the_best_class_is_compared():
    task = find_task("classify")
    sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    less = sure + np.array([[-0.1, 0.1], [-0.2, 0.2], [0.15, -0.15], [-0.2, 0.2]])
    before, after = (classified(side, ["a", "a", "b", None]) for side in (sure, less))
    change = task.score_change(before, after, read_spec(SPEC), {})
    assert change["matched"] == 3  # the fourth picture changed its class
    assert change["median_shift"] == pytest.approx(-0.15, abs=1e-6)
    assert change["threshold"] is change["reference"] is None
    groups = np.arange(4)
    assert task.main_without(before, groups, 5).tolist() == [1.0] * 5
    wrong = classified(sure[:, ::-1], ["a", "b", "b", None])
    assert task.main_without(wrong, groups, 5) == pytest.approx([1 / 2, 0, 1 / 2, 1 / 3, 1 / 3])


def test_pictures_of_no_change_prove_little_of_a_classifier():
    """As many pictures as a drop of half a point needs are not at hand: 36 equal answers are no proof, unless the
    probabilities are equal too."""
    rows = np.tile([[0.9, 0.1]], (36, 1))
    before, after = (classified(rows - move * np.array([1, -1]), ["a"] * 36) for move in (0.0, 0.05))
    task = find_task("classify")
    for other, same in ((after, False), (before, True)):
        change = task.score_change(before, other, read_spec(SPEC), {})
        error = drop_error(task, before, other, change)
        assert error == {"standard_error": 0.0, "groups": 36, "same": same}
