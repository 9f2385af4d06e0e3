"""Label files: what Ultralytics accepts is accepted, what it drops is an error with its line."""

from __future__ import annotations

import pytest

from edgecompile.data.box_labels import check_labels
from edgecompile.data.label_lines import LabelFacts
from edgecompile.data.yolo_labels import label_path, read_lines
from edgecompile.errors import RecipeError

FINE = [
    "",
    "\n\n",
    "0 0.5 0.5 0.2 0.2\n2 1 1 0 0\n",
    "0 0.5 0.5 0.2 0.2",
    "\ufeff0 0.5 0.5 0.2 0.2\n",
    "0 -0.005 0.5 0.2 1.009\n",
    "1 0.1 0.1 0.9 0.1 0.5 0.9\n0 0.1 0.1 0.9 0.1 0.5 0.9 0.2 0.2\n",
    "0.0 0.5 0.5 0.2 0.2\n",
]
WRONG = [
    ("0 0.5 0.5 0.2\n", 1, "found 4 values, expected 5"),
    ("0 0.5 0.5 0.2 0.2 0.9\n", 1, "found 6 values"),
    ("\n0 0.5 x 0.2 0.2\n", 2, "expected numbers"),
    ("3 0.5 0.5 0.2 0.2\n", 1, "found class 3, expected 0 to 2"),
    ("-1 0.5 0.5 0.2 0.2\n", 1, "found class -1"),
    ("0.5 0.5 0.5 0.2 0.2\n", 1, "found class 0.5"),
    ("0 0.5 0.5 0.2 1.2\n", 1, "found the coordinate 1.2"),
    ("0 0.5 0.5 nan 0.2\n", 1, "found the coordinate nan"),
    ("0 0.5 0.5 -0.005 0.2\n", 1, "found the size -0.005"),
    ("0 0.1 0.1 0.9 0.1 0.5 0.9\n0 0.5 0.5 0.2 0.2\n", 2, "at least three points"),
    ("0 0.1 0.1 0.9 0.1 0.5 0.9 0.5\n", 1, "at least three points"),
]


@pytest.mark.parametrize("text", FINE)
def test_fine(tmp_path, text):
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert not check_labels(read_lines(tmp_path / "a.txt"), LabelFacts(3)).problems


@pytest.mark.parametrize(("text", "line", "words"), WRONG)
def test_wrong(tmp_path, text, line, words):
    (tmp_path / "a.txt").write_text(text)
    (problem,) = check_labels(read_lines(tmp_path / "a.txt"), LabelFacts(3)).problems
    assert problem.where.endswith(f"a.txt:{line}")
    assert words in problem.message


def test_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="UTF-8"):
        read_lines(tmp_path / "a.txt")


def test_no_file_is_no_object(tmp_path):
    assert check_labels(read_lines(tmp_path / "none.txt"), LabelFacts(3)).objects == 0


@pytest.mark.parametrize(
    ("picture", "expected"),
    [  # as ultralytics.data.utils.img2label_paths answers
        ("/a/images/val/b.jpg", "/a/labels/val/b.txt"),
        ("/images/a/images/b.png", "/images/a/labels/b.txt"),
        ("/a/b.c.jpg", "/a/b.c.txt"),
        ("/a/images.old/b.jpg", "/a/images.old/b.txt"),
    ],
)
def test_label_path(picture, expected):
    assert label_path(picture) == expected
