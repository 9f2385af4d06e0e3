"""Classification on the device: from probabilities to a result, and what a result becomes."""

from __future__ import annotations

import copy
import json
import sys
from typing import Any

import numpy as np
import pytest

from edgecompile.errors import BundleError, MissingToolError, RecipeError
from edgecompile.runtime.geometry import Geometry
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.tasks import OutputError
from edgecompile.runtime.tasks.classify import Classification, Task

from ..tiny import tiny_spec

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")
ROW = np.array([0.05, 0.3, 0.1, 0.3, 0.02, 0.2, 0.03], np.float32)
GEOMETRY = Geometry((40, 60), (64, 96), 0, 0)


def classify_spec(**changes: Any) -> dict[str, Any]:
    spec = copy.deepcopy(tiny_spec())
    del spec["nms"]
    letterbox = {**spec["letterbox"], "interpolation": "antialias", "resize": "crop"}
    output = {"name": "output0", "shape": [1, len(NAMES)], "decode": "probabilities"}
    return {
        **spec,
        "task": "classify",
        "names": list(NAMES),
        "letterbox": letterbox,
        "output": output,
        "top": 5,
        **changes,
    }


def task(**changes: Any) -> Task:
    found = read_spec(classify_spec(**changes)).task
    assert isinstance(found, Task)
    return found


def result(**settings: Any) -> Classification:
    return task().decode([ROW[None]], GEOMETRY, 0, settings)


def test_the_best_classes_come_first_and_of_equals_the_lower_number() -> None:
    found = result()
    assert found.classes.tolist() == [1, 3, 5, 2, 0]
    assert found.classes.dtype == np.int64
    assert np.array_equal(found.probabilities, ROW)
    assert np.array_equal(found.scores, ROW[[1, 3, 5, 2, 0]])
    assert (len(found), [label.name for label in found]) == (5, ["bee", "dog", "fox", "cat", "ant"])
    assert found.top1 == found[0] == ("bee", float(ROW[1]), 1)
    assert all(type(label.score) is float and type(label.class_id) is int for label in found)
    assert repr(found) == "Classification(bee 0.30, dog 0.30, fox 0.20, cat 0.10, ant 0.05)"


def test_a_prediction_chooses_how_many() -> None:
    assert [label.name for label in result(top=2)] == ["bee", "dog"]
    assert len(result(top=100)) == len(NAMES)
    assert [label.name for label in result(top=1).top5] == ["bee", "dog", "fox", "cat", "ant"]
    assert len(task(top=3).decode([ROW[None]], GEOMETRY, 0, {})) == 3
    for wrong in (0, -1, 2.5, "all"):
        with pytest.raises(RecipeError, match="top is"):
            result(top=wrong)


def test_the_slot_is_the_picture() -> None:
    stack = np.stack([ROW, ROW[::-1]])
    assert task().decode([stack], GEOMETRY, 1, {}).top1.name == "dog"
    with pytest.raises(OutputError, match="expected numbers"):
        task().decode([stack], GEOMETRY, 2, {})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (ROW[None, :3], r"is \[1, 3\]"),
        (ROW[None, None], r"is \[1, 1, 7\]"),
        (np.full((1, 7), "a"), "numbers in it: no"),
        (np.where(ROW.max() == ROW, np.nan, ROW)[None], "holds the probability nan, expected 0..1"),
        (ROW[None] * 9, "holds the probability 2.7, expected 0..1"),
        (ROW[None] - 0.1, "holds the probability -0.08"),
        (ROW[None] * np.inf, "holds the probability inf"),
    ],
)
def test_outputs_that_are_no_probabilities_are_refused(wrong: np.ndarray, said: str) -> None:
    with pytest.raises(OutputError, match=f"output 'output0' of the model .*{said}"):
        task().decode([wrong], GEOMETRY, 0, {})


def test_control_rounding_of_eight_bits_is_accepted() -> None:
    assert task().decode([np.where(ROW < 0.03, -0.004, ROW)[None]], GEOMETRY, 0, {}).top1.name == "bee"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output": {"name": "o", "shape": [1, 7], "decode": "yolo"}}, "output.decode is 'yolo'"),
        ({"output": {"name": "o", "shape": [1, 8], "decode": "probabilities"}}, r"\[1, 8\] does not fit 7 classes"),
        ({"output": {"name": "o", "shape": [1, 7, 1], "decode": "probabilities"}}, "does not fit"),
        ({"names": []}, "does not fit 0 classes"),
        ({"top": 0}, "top is 0"),
        ({"top": "few"}, "lacks or misstates"),
        ({"output": None}, "lacks or misstates"),
    ],
)
def test_specs_that_are_not_followed(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError, match=said):
        task(**changes)


def test_plain_values_text_and_picture() -> None:
    found = result(top=2)
    assert json.loads(json.dumps(found.to_dict())) == {
        "classes": [1, 3], "names": ["bee", "dog"], "scores": [0.3, 0.3],
    }  # fmt: skip
    assert task().fields(found)["classes"][1] == {"name": "dog", "class": 3, "score": 0.3}
    assert list(task().lines(found)) == ["bee 0.30", "bee  0.3000", "dog  0.3000"]
    hostile = Classification(ROW, found.classes, ("a", "b\x1b[31m", *NAMES[2:]))
    assert not any("\x1b" in line for line in task().lines(hostile))
    with pytest.raises(RecipeError, match="COCO has no format"):
        task().coco(found)
    image = np.zeros((40, 60, 3), np.uint8)
    drawn = [task().draw(image, result(top=count)) for count in (1, 2)]
    assert not image.any()
    assert drawn[0].any()
    assert (drawn[0] != drawn[1]).any()
    assert task().draw(np.zeros((3, 3, 3), np.uint8), result()).shape == (3, 3, 3)


def test_agrees_with_its_own_golden_result_and_with_no_other() -> None:
    kept = json.loads(json.dumps(task().golden(result())))
    agreement = task().agreement(result(), kept)
    assert agreement.met
    assert agreement.detail.startswith("bee first of 5")
    assert task().agreement(task().decode([ROW[None] + np.float32(1e-6)], GEOMETRY, 0, {}), kept).met
    other = ROW.copy()
    other[[1, 4]] = other[[4, 1]]
    assert not task().agreement(task().decode([other[None]], GEOMETRY, 0, {}), kept).met
    swapped = ROW.copy()  # a class that is not among the kept ones comes before them
    swapped[6] = 0.9
    assert not task().agreement(task().decode([swapped[None]], GEOMETRY, 0, {}), kept).met


@pytest.mark.parametrize(
    "golden",
    [None, {}, {"classes": [1], "scores": []}, {"classes": [], "scores": []}, {"classes": [99], "scores": [0.1]},
     {"classes": [[1]], "scores": [[0.3]]}, {"classes": ["bee"], "scores": [0.3]}],
)  # fmt: skip
def test_malformed_golden_results(golden: Any) -> None:
    with pytest.raises(BundleError, match="golden classes are malformed"):
        task().agreement(result(), golden)


def test_becomes_what_supervision_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    supervision = pytest.importorskip("supervision")
    theirs = result().to_supervision()
    assert isinstance(theirs, supervision.Classifications)
    assert np.array_equal(theirs.confidence, ROW)
    assert theirs.get_top_k(1)[0].tolist() in ([1], [3])


def test_says_that_supervision_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingToolError, match="supervision cannot be imported"):
        result().to_supervision()
