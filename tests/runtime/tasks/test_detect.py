from __future__ import annotations

import json

import numpy as np

from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.tasks import Parts, _drawing
from edgecompile.runtime.tasks.detect import Detections, Task

from ..tiny import tiny_spec

FOUND = Detections(
    np.array([[1, 2, 3.123456, 4], [5, 6, 7, 8]], np.float32),
    np.array([0.9, 0.123456789], np.float32),
    np.array([1, 0]),
    ("bolt", "nut"),
)
ROWS = np.array(
    [
        [10, 10, 30, 30, 0.9, 0],
        [12, 10, 32, 30, 0.8, 1],
        [60, 20, 90, 50, 0.7, 0],
        [0, 0, 5, 5, 0.1, 2],  # below the threshold of the spec
    ],
    np.float32,
)


def task(decode: str = "yolo") -> Task:
    """Returns detection as the spec of the tiny model describes it."""
    found = read_spec(tiny_spec(decode=decode)).task
    assert isinstance(found, Task)
    return found


def parts(reference: np.ndarray, other: np.ndarray, decode: str = "yolo") -> Parts:
    return task(decode).parts([reference], [other])


def test_gives_one_object_after_another() -> None:
    assert len(FOUND) == 2
    assert [one.name for one in FOUND] == ["nut", "bolt"]
    first = next(iter(FOUND))
    assert first == FOUND[0]
    assert first.box == (1.0, 2.0, np.float32(3.123456), 4.0)
    assert all(type(value) is float for value in (*first.box, first.score))
    assert FOUND[-1].class_id == 0


def test_is_plain_json_when_asked() -> None:
    document = FOUND.to_dict()
    assert json.loads(json.dumps(document)) == document
    assert document == {
        "boxes": [[1.0, 2.0, 3.123, 4.0], [5.0, 6.0, 7.0, 8.0]],
        "scores": [0.9, 0.12346],
        "classes": [1, 0],
        "names": ["nut", "bolt"],
    }


def test_shows_what_was_found() -> None:
    assert repr(FOUND) == "Detections(1 nut, 1 bolt)"
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64), ("bolt",))
    assert repr(nothing) == "Detections(none)"
    assert list(nothing) == []


def test_a_class_without_a_name_goes_by_its_number() -> None:
    assert Detections(FOUND.boxes, FOUND.scores, np.array([1, 7]), FOUND.names)[1].name == "7"


def test_boxes_and_scores_of_yolo_are_told_apart() -> None:
    one = np.arange(7 * 5, dtype=np.float32).reshape(1, 7, 5)
    pairs = parts(one, one + 1)
    assert {part: pair[0].shape for part, pair in pairs.items()} == {"boxes": (1, 4, 5), "scores": (1, 3, 5)}
    assert all((other - reference == 1).all() for reference, other in pairs.values())


def test_rows_that_changed_places_are_paired_again() -> None:
    moved = ROWS[[2, 1, 3, 0]]
    for reference, other in parts(ROWS[None], moved[None], "end2end").values():
        assert len(reference) == 3
        assert np.array_equal(reference, other)


def test_a_row_that_is_gone_counts_as_zeros_and_none_is_used_twice() -> None:
    twice = np.concatenate((ROWS[:1], ROWS[:1] + np.float32([1, 0, 1, 0, -0.05, 0])))
    pairs = parts(twice[None], np.concatenate((ROWS[:1], ROWS[3:]))[None], "end2end")
    assert pairs["scores"][1].tolist() == [np.float32(0.9), 0]
    assert (pairs["boxes"][1][1] == 0).all()
    other_class = ROWS.copy()
    other_class[:, 5] = 2
    assert not parts(ROWS[None], other_class[None], "end2end")["scores"][1].any()


def test_an_output_of_another_kind_is_one_part() -> None:
    one = np.zeros((1, 32, 20, 20), np.float32)
    assert list(parts(one, one)) == [""]


def test_draws_boxes_on_a_copy() -> None:
    image = np.full((120, 160, 3), 90, np.uint8)
    boxes = np.array([[30, 40, 90, 100], [0, 0, 160, 3], [150.4, 100.2, 160, 120]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.5, 0.3], np.float32), np.array([0, 1, 2]), ("a", "Überlänge" * 9, "c"))
    drawn = task().draw(image, found)
    assert (image == 90).all()
    assert drawn.shape == image.shape
    assert np.abs(drawn[70, 30].astype(int) - _drawing.color_of(0)).max() < 20  # lines are smoothed
    assert drawn[70, 60].tolist() == [90, 90, 90]


def test_nothing_found_is_nothing_drawn() -> None:
    image = np.full((20, 30, 3), 90, np.uint8)
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64), ())
    assert np.array_equal(task().draw(image, nothing), image)


def test_neighbouring_classes_have_other_colors() -> None:
    colors = np.array([_drawing.color_of(number) for number in range(80)], np.int64)
    assert np.abs(np.diff(colors, axis=0)).sum(axis=1).min() > 60
