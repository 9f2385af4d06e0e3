"""Labels are read as Ultralytics reads them; a malformed one is an error with file and line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecompile.data.box_labels import BoxLabels
from edgecompile.data.box_labels import read_labels as read_box_labels
from edgecompile.data.label_lines import LabelFacts
from edgecompile.data.yolo_labels import read_lines
from edgecompile.errors import RecipeError

GOOD = {
    "boxes": "0 0.5 0.5 0.2 0.4\n2 0.1 0.2 0.05 0.1\n",
    "duplicates": "2 0.5 0.5 0.2 0.4\n0 0.1 0.2 0.05 0.1\n2 0.5 0.5 0.2 0.4\n",
    "polygons": "1 0.1 0.1 0.3 0.1 0.3 0.4\n0 0.5 0.5 0.9 0.5 0.9 0.9 0.5 0.9\n",
    "polygons of one box": "0 0.5 0.5 0.9 0.5 0.9 0.9\n0 0.5 0.5 0.9 0.9 0.5 0.9\n",
    "byte-order mark": "\ufeff0 0.5 0.5 0.2 0.4\n",
    "blank lines": "\n0 0.5 0.5 0.2 0.4\n\n\n",
    "at the border": "0 0.995 0.5 1.005 1.0\n",
    "empty": "",
}

BAD = {
    "too few values": ("0 0.5 0.5 0.2 0.4\n1 0.5 0.5\n", 2, "expected 5: class x y width height"),
    "six values": ("0 0.5 0.5 0.2 0.4 0.9\n", 1, "expected 5: class x y width height"),
    "polygons and boxes": ("0 0.1 0.1 0.3 0.1 0.3 0.4\n0 0.5 0.5 0.2 0.4\n", 2, "at least three points"),
    "half a point": ("0 0.1 0.1 0.3 0.1 0.3 0.4 0.5\n", 1, "at least three points"),
    "words": ("bolt 0.5 0.5 0.2 0.4\n", 1, "expected numbers"),
    "not a number": ("0 nan 0.5 0.2 0.4\n", 1, "coordinate nan"),
    "pixels": ("0 0.5 0.5 0.2 0.4\n\n0 120 80 40 30\n", 3, "the coordinate 120, expected a share"),
    "unknown class": ("3 0.5 0.5 0.2 0.4\n", 1, "class 3, expected 0 to 2"),
    "half a class": ("0.5 0.5 0.5 0.2 0.4\n", 1, "class 0.5"),
    "negative width": ("0 0.5 0.5 -0.005 0.4\n", 1, "size -0.005"),
}


def read_labels(file: Path, classes: int) -> BoxLabels:
    return read_box_labels(read_lines(file), LabelFacts(classes))


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_equals_ultralytics(text, tmp_path, ultralytics):
    from ultralytics.data.utils import verify_image_label

    picture, labels = tmp_path / "one.png", tmp_path / "one.txt"
    cv2.imwrite(str(picture), np.zeros((40, 60, 3), np.uint8))
    labels.write_text(text, encoding="utf-8")
    theirs = verify_image_label((str(picture), str(labels), "", False, 3, 0, 0, False))[1]
    ours = read_labels(labels, 3)
    assert theirs is not None
    np.testing.assert_array_equal(ours.classes, theirs[:, 0].astype(int))
    centre, half = theirs[:, 1:3], theirs[:, 3:5] / 2
    np.testing.assert_allclose(ours.boxes, np.concatenate((centre - half, centre + half), 1), atol=1e-7)


@pytest.mark.parametrize(("text", "line", "message"), BAD.values(), ids=BAD)
def test_malformed_labels_name_file_and_line(text, line, message, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=message) as caught:
        read_labels(path, 3)
    assert caught.value.problems[0].where == f"{path}:{line}"


@pytest.mark.parametrize("name", BAD)
def test_ultralytics_drops_what_is_malformed_here(name, tmp_path, ultralytics):
    """The same lines make Ultralytics leave the picture out, with a warning among many."""
    from ultralytics.data.utils import verify_image_label

    picture, labels = tmp_path / "one.png", tmp_path / "one.txt"
    cv2.imwrite(str(picture), np.zeros((40, 60, 3), np.uint8))
    labels.write_text(BAD[name][0], encoding="utf-8")
    assert verify_image_label((str(picture), str(labels), "", False, 3, 0, 0, False))[1] is None


def test_a_missing_file_is_a_picture_without_objects(tmp_path):
    labels = read_labels(tmp_path / "none.txt", 3)
    assert labels.classes.shape == (0,)
    assert labels.boxes.shape == (0, 4)


def test_a_binary_file_is_an_error(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(RecipeError, match="not UTF-8"):
        read_labels(path, 3)


def test_boxes_in_pixels(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("0 0.5 0.5 0.5 0.25\n")
    np.testing.assert_allclose(read_labels(path, 1).in_pixels(640, 480), [[160, 180, 480, 300]])
