"""Folders of classes: which splits and classes there are, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecompile.data.label_lines import CheckedLabels, LabelForm
from edgecompile.data.label_reading import reading_from
from edgecompile.data.layouts import Reader, find_layout, layout_of
from edgecompile.data.split_listing import Folders
from edgecompile.errors import RecipeError


def lay(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(file.encode())
    return root


@pytest.fixture
def data(here: Path) -> Path:
    return lay(here / "set", "train/nut/a.jpg", "train/bolt/b.jpg", "valid/nut/c.jpg", "valid/nut/deep/d.jpg",
               "valid/bolt/e.PNG", "valid/bolt/notes.txt", "valid/stray.jpg", "train/.hidden/x.jpg")  # fmt: skip


def reader(form: LabelForm) -> Reader:
    return Reader(
        "classify", form, lambda lines: CheckedLabels(len(lines.lines)), lambda _: CheckedLabels(0), 0.05, 0.5
    )


def test_the_class_is_the_folder(data):
    layout = layout_of(data)
    assert layout.name == "folders"
    read = layout.read_data(data, lambda: None)
    assert read.names == ("bolt", "nut")
    assert read.splits == {"train": "train", "val": "valid"}
    listing = layout.list_split(read, "val", "", Folders())
    assert [Path(path).name for path in listing.pictures] == ["e.PNG", "c.jpg", "d.jpg"]
    assert listing.left_out == {"outside of the folders of classes": 1}
    labels = layout.find_labels(read, "val", listing, listing.pictures, reader(LabelForm.CLASS_NAME), Folders())
    assert not labels.problems
    assert not labels.files
    assert labels.reading.keys == ("bolt", "nut", "nut")
    assert reading_from(labels.reading.as_json()) == labels.reading
    lines = layout.read_lines((), labels.reading, LabelForm.CLASS_NAME)
    assert [one.lines[0][1] for one in lines] == [["bolt"], ["nut"], ["nut"]]


def test_the_model_numbers_the_classes(data):
    layout = find_layout("folders")
    assert layout.read_data(data, lambda: ("nut", "gear", "bolt")).names == ("nut", "gear", "bolt")
    assert layout.read_data(data, lambda: ("nut", "gear")).names == ("bolt", "nut")  # the control


def test_a_class_of_one_split_only_is_told(data):
    lay(data, "valid/gear/f.jpg")
    layout = layout_of(data)
    read = layout.read_data(data, lambda: None)
    listing = layout.list_split(read, "val", "", Folders())
    labels = layout.find_labels(read, "val", listing, listing.pictures, reader(LabelForm.CLASS_NAME), Folders())
    assert labels.notes == ["split 'val' has 1 picture in folders that are none of the classes: gear"]


def test_other_tasks_need_labels(data):
    layout = layout_of(data)
    read = layout.read_data(data, lambda: None)
    listing = layout.list_split(read, "val", "", Folders())
    (problem,) = layout.find_labels(read, "val", listing, listing.pictures, reader(LabelForm.BOXES), Folders()).problems
    assert "folders of classes, as data sets for classification have" in str(problem)


def test_classes_without_splits_are_refused(here):
    lay(here / "set", "nut/a.jpg", "bolt/b.jpg")
    with pytest.raises(RecipeError, match=r"no train/ and val/ above them; move them into train/ and val/"):
        layout_of(here / "set").read_data(here / "set", lambda: None)


def test_no_such_split_and_an_empty_one(data):
    layout = layout_of(data)
    read = layout.read_data(data, lambda: None)
    with pytest.raises(RecipeError, match="has no folder of the split 'test'"):
        layout.list_split(read, "test", "", Folders())
    for picture in (data / "valid").rglob("*.*"):
        if picture.is_file():
            picture.unlink()
    with pytest.raises(RecipeError, match="split 'val' is empty"):
        layout.list_split(read, "val", "", Folders())


@pytest.mark.parametrize("files", [("images/train/a.jpg", "labels/train/a.txt"), ("train/images/a.jpg",), ("a.jpg",)])
def test_other_folders_are_none_of_classes(here, files):
    assert layout_of(lay(here / "set", *files)).name == "yolo"


def test_a_folder_with_a_data_yaml_is_none_of_classes(data):
    assert layout_of(lay(data, "data.yaml")).name == "yolo"


def test_a_class_may_have_any_name(here):
    lay(here / "set", "train/~root/a.jpg", "train/a*b/b.jpg", "train/c.txt/c.jpg", "val/~root/d.jpg")
    layout = layout_of(here / "set")
    read = layout.read_data(here / "set", lambda: None)
    assert len(layout.list_split(read, "train", "", Folders()).pictures) == 3
