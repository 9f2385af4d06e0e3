"""Polygons, corners, key points and class names are read as Ultralytics reads them; what it drops is an error."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecompile.data import (
    box_labels,
    class_name_labels,
    corner_labels,
    key_point_labels,
    polygon_labels,
)
from edgecompile.data.label_lines import LabelFacts, LabelLines
from edgecompile.data.yolo_labels import read_lines
from edgecompile.errors import RecipeError

POLYGONS = {
    "two": "1 0.1 0.1 0.3 0.1 0.3 0.4\n0 0.5 0.5 0.9 0.5 0.9 0.9 0.5 0.9\n",
    "repeated": "1 0.1 0.1 0.3 0.1 0.3 0.4\n0 0.5 0.5 0.9 0.5 0.9 0.9\n1 0.1 0.1 0.3 0.1 0.3 0.4\n",
    "of one box": "0 0.5 0.5 0.9 0.5 0.9 0.9\n0 0.5 0.5 0.9 0.9 0.5 0.9\n",
    "across the border": "0 -0.05 0.5 0.3 0.5 0.3 0.9\n2 0.7 0.2 1.06 0.2 0.9 0.4 0.8 0.4\n",
    "empty": "",
}
CORNERS = {
    "two": "1 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4\n0 0.5 0.5 0.9 0.5 0.9 0.9 0.5 0.9\n",
    "across the border": "0 -0.02 0.5 0.3 0.4 0.4 0.6 0.1 0.8\n",
    "a triangle": "2 0.1 0.1 0.3 0.1 0.3 0.4\n",
    "polygons": "0 0.5 0.5 0.6 0.45 0.7 0.5 0.7 0.7 0.6 0.8\n1 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4\n2 0 0 0.1 0 0 1\n",
    "repeated": "1 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4\n1 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4\n",
    "empty": "",
}
POSES = {
    "three values": ("0 0.5 0.5 0.4 0.4 0.4 0.4 2 0.6 0.6 1\n1 0.2 0.2 0.1 0.1 0 0 0 0.2 0.2 2\n", (2, 3)),
    "repeated": ("1 0.5 0.5 0.4 0.4 0.4 0.4 2\n0 0.5 0.5 0.4 0.4 0.4 0.4 2\n1 0.5 0.5 0.4 0.4 0.4 0.4 2\n", (1, 3)),
    "two values": ("0 0.5 0.5 0.4 0.4 0.4 0.4 0 0\n1 0.2 0.2 0.1 0.1 -0.005 0.2 0.2 -0.001\n", (2, 2)),
    "confidence": ("0 0.5 0.5 0.4 0.4 0.4 0.4 0.87\n", (1, 3)),
    "empty": ("", (2, 3)),
}


def written(folder: Path, text: str) -> LabelLines:
    cv2.imwrite(str(folder / "one.png"), np.zeros((40, 60, 3), np.uint8))
    (folder / "one.txt").write_text(text)
    return read_lines(folder / "one.txt")


def theirs(folder: Path, shape: tuple[int, int] | None = None):
    """Returns what Ultralytics reads: rows of class, x, y, width, height; polygons; key points."""
    from ultralytics.data.utils import verify_image_label

    files = str(folder / "one.png"), str(folder / "one.txt")
    found = verify_image_label((*files, "", shape is not None, 3, *(shape or (0, 0)), False))
    return found[1], found[3], found[4]


def corners(rows: np.ndarray) -> np.ndarray:
    return np.concatenate((rows[:, 1:3] - rows[:, 3:5] / 2, rows[:, 1:3] + rows[:, 3:5] / 2), 1)


@pytest.mark.parametrize("text", POLYGONS.values(), ids=POLYGONS)
def test_polygons(text, tmp_path, ultralytics):
    lines = written(tmp_path, text)
    ours = polygon_labels.read_labels(lines, LabelFacts(3))
    rows, polygons, _ = theirs(tmp_path)
    np.testing.assert_array_equal(ours.classes, rows[:, 0].astype(int))
    np.testing.assert_allclose(ours.boxes, corners(rows), atol=1e-7)
    assert [polygon.tolist() for polygon in ours.polygons] == [polygon.tolist() for polygon in polygons]
    checked = polygon_labels.check_labels(lines, LabelFacts(3))
    assert (checked.objects, checked.problems) == (len(rows), ())
    boxes = box_labels.read_labels(lines, LabelFacts(3))  # of the same file, for a detector
    np.testing.assert_array_equal(boxes.boxes, ours.boxes)


@pytest.mark.parametrize("text", CORNERS.values(), ids=CORNERS)
def test_corners(text, tmp_path, ultralytics):
    lines = written(tmp_path, text)
    ours = corner_labels.read_labels(lines, LabelFacts(3))
    rows, polygons, _ = theirs(tmp_path)
    np.testing.assert_array_equal(ours.classes, rows[:, 0].astype(int))
    for corners_, polygon in zip(ours.corners, polygons, strict=True):
        np.testing.assert_array_equal(corners_[: len(polygon)], polygon)
        assert (corners_[len(polygon) :] == polygon[-1]).all()
    assert corner_labels.check_labels(lines, LabelFacts(3)).objects == len(rows)
    assert ours.in_pixels(100, 10).shape == ours.corners.shape


@pytest.mark.parametrize(("text", "shape"), POSES.values(), ids=POSES)
def test_key_points(text, shape, tmp_path, ultralytics):
    lines, facts = written(tmp_path, text), LabelFacts(3, shape, (0.1,) * shape[0])
    ours = key_point_labels.read_labels(lines, facts)
    rows, _, points = theirs(tmp_path, shape)
    np.testing.assert_array_equal(ours.classes, rows[:, 0].astype(int))
    np.testing.assert_allclose(ours.boxes, corners(rows), atol=1e-7)
    np.testing.assert_array_equal(ours.key_points, points)
    assert ours.key_points.dtype == np.float32
    assert ours.sigmas == (0.1,) * shape[0]
    assert key_point_labels.check_labels(lines, facts).objects == len(rows)


def test_a_detector_reads_the_boxes_of_poses(tmp_path, ultralytics):
    """As Ultralytics does where the data.yaml states kpt_shape."""
    from ultralytics.data.utils import verify_image_label

    lines = written(tmp_path, POSES["three values"][0])
    files = str(tmp_path / "one.png"), str(tmp_path / "one.txt")
    rows = verify_image_label((*files, "", False, 3, 2, 3, False))[1]
    ours = box_labels.read_labels(lines, LabelFacts(3, (2, 3)))
    np.testing.assert_allclose(ours.boxes, corners(rows), atol=1e-7)
    assert box_labels.check_labels(lines, LabelFacts(3, (2, 3))).poses == 2
    assert box_labels.check_labels(lines, LabelFacts(3)).problems  # the control: polygons of half a point


NOT_POLYGONS = {
    "a box": ("0 0.5 0.5 0.2 0.2\n", 1, "found 5 values, which are a box, expected a polygon"),
    "a box among polygons": (f"{POLYGONS['two']}0 0.5 0.5 0.2 0.2\n", 3, "which are a box"),
    "two points": ("0 0.5 0.5 0.2 0.2 0.3\n", 1, "at least three points"),
    "half a point": ("0 0.1 0.1 0.3 0.1 0.3 0.4 0.5\n", 1, "at least three points"),
    "pixels": ("0 10 10 30 10 30 40\n", 1, "found the coordinate 30"),
    "no number": ("0 0.1 0.1 0.3 0.1 nan 0.4\n", 1, "coordinate nan"),
    "infinite": ("0 0.1 0.1 0.3 0.1 -inf inf\n", 1, "coordinate -inf"),
    "far outside": ("0 1.2 0.1 1.3 0.1 1.3 0.4\n", 1, "coordinate 1.3"),
    "class": ("3 0.1 0.1 0.3 0.1 0.3 0.4\n", 1, "class 3, expected 0 to 2"),
}
NOT_CORNERS = {
    "a box": ("0 0.5 0.5 0.2 0.2\n", 1, "found 5 values, which are a box, expected 9: class x1 y1"),
    "half a corner": ("0 0.1 0.1 0.3 0.1 0.3 0.4 0.1\n", 1, "found 8 values, expected 9"),
    "an angle": ("0 0.5 0.5 0.2 0.2 0.7\n", 1, "found 6 values, expected 9"),
    "pixels": ("0 10 10 30 10 30 40 10 40\n", 1, "found the coordinate 30"),
}
NOT_POSES = {
    "a box": ("0 0.5 0.5 0.2 0.2\n", 1, "found 5 values, expected 11: class x y width height and 2 key points of 3"),
    "of two values": ("0 0.5 0.5 0.2 0.2 0.5 0.5 0.5 0.5\n", 1, "found 9 values, expected 11"),
    "pixels": ("0 0.5 0.5 0.2 0.2 50 0.5 2 0.5 0.5 2\n", 1, "found the coordinate 50"),
    "visibility": ("0 0.5 0.5 0.2 0.2 0.5 0.5 2 0.5 0.5 17\n", 1, "found the visibility 17"),
    "no visibility": ("0 0.5 0.5 0.2 0.2 0.5 0.5 2 0.5 0.5 nan\n", 1, "found the visibility nan"),
    "size": ("0 0.5 0.5 -0.002 0.2 0.5 0.5 2 0.5 0.5 1\n", 1, "found the size -0.002"),
}


@pytest.mark.parametrize(
    ("form", "text", "line", "words"),
    [(form, *case) for form, cases in ((polygon_labels, NOT_POLYGONS), (corner_labels, NOT_CORNERS),
                                       (key_point_labels, NOT_POSES)) for case in cases.values()],
)  # fmt: skip
def test_malformed_lines_name_file_and_line(form, text, line, words, tmp_path):
    lines, facts = written(tmp_path, text), LabelFacts(3, (2, 3))
    (problem,) = form.check_labels(lines, facts).problems
    assert problem.where.endswith(f"one.txt:{line}")
    assert words in problem.message
    with pytest.raises(RecipeError, match=words):
        form.read_labels(lines, facts)


def test_key_points_need_their_number(tmp_path):
    assert "kpt_shape is missing" in key_point_labels.fact_problems(LabelFacts(3))[0]
    assert key_point_labels.fact_problems(LabelFacts(3, (2, 3))) == ()
    assert not key_point_labels.check_labels(written(tmp_path, "0 1 2\n"), LabelFacts(3)).problems  # it is said once


def test_class_names():
    facts = LabelFacts(3)
    assert class_name_labels.read_labels(LabelLines("bolt", [(1, ["hex bolt"])]), facts).name == "hex bolt"
    assert class_name_labels.read_labels(LabelLines("none"), facts).name is None
    assert class_name_labels.check_labels(LabelLines("bolt", [(1, ["bolt"])]), facts).objects == 1
    for lines in ([(1, ["bolt"]), (2, ["nut"])], [(1, ["bolt", "nut"])]):
        with pytest.raises(RecipeError, match="the name of one class"):
            class_name_labels.read_labels(LabelLines("bolt", lines), facts)
