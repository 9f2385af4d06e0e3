from __future__ import annotations

import json

import numpy as np

from edgecompile.runtime.tasks.detect import Detections

FOUND = Detections(
    np.array([[1, 2, 3.123456, 4], [5, 6, 7, 8]], np.float32),
    np.array([0.9, 0.123456789], np.float32),
    np.array([1, 0]),
    ("bolt", "nut"),
)


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
