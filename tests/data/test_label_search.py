"""Labels are found where Ultralytics looks for them, and where files of their names lie in vain is said."""

from __future__ import annotations

import os
from pathlib import Path
from unicodedata import normalize

import pytest

from edgecompile.data.label_search import LabelFiles, find_label_files
from edgecompile.data.split_listing import Folders, list_pictures


def found(root: Path, *places: str) -> LabelFiles:
    folders = Folders()
    listing = list_pictures(root, places, "d.yaml:1:val", folders)
    return find_label_files(listing.pictures, listing.resolved, folders, str(root))


def lay(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def below(root: Path, labels: LabelFiles) -> list[tuple[str, bool]]:
    return [(os.path.relpath(one.path, root), one.exists) for one in labels.files]


def test_each_label_stands_where_ultralytics_looks(tmp_path: Path) -> None:
    lay(tmp_path, "images/val/a.jpg", "labels/val/a.txt", "images/val/b.c.tif", "labels/val/b.c.txt", "plain/d.png")
    lay(tmp_path, "plain/d.txt", "images/val/e.jpg")
    assert below(tmp_path, found(tmp_path, "images/val", "plain")) == [
        ("labels/val/a.txt", True),
        ("labels/val/b.c.txt", True),
        ("labels/val/e.txt", False),
        ("plain/d.txt", True),
    ]


def test_of_a_place_that_is_a_link_both_ways_are_tried(tmp_path: Path) -> None:
    """Ultralytics resolves the place and looks there; people put the labels beside the link."""
    lay(tmp_path, "store/images/a.jpg", "store/images/b.jpg", "store/labels/a.txt", "labels/val/b.txt")
    (tmp_path / "images").mkdir()
    os.symlink("../store/images", tmp_path / "images/val")
    assert below(tmp_path, found(tmp_path, "images/val")) == [("store/labels/a.txt", True), ("labels/val/b.txt", True)]


@pytest.mark.parametrize(("picture", "label"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_label_in_another_unicode_form_is_found_and_counted(tmp_path: Path, picture, label) -> None:
    lay(tmp_path, normalize(picture, "images/é.jpg"), normalize(label, "labels/é.txt"), "images/è.jpg")
    labels = found(tmp_path, "images")
    assert (labels.renamed, len(labels.missing)) == (1, 1)
    (match,) = (one for one in labels.files if one.exists)
    assert match.path == str(tmp_path / normalize(label, "labels/é.txt"))
    lay(tmp_path, normalize(picture, "labels/é.txt"))  # the control: one of exactly this name is taken first
    assert found(tmp_path, "images").renamed == 0


@pytest.mark.parametrize(
    ("lying", "told"),
    [
        ("val/images/a.txt", "text files of its name lie beside the pictures in 'val/images' (1)"),
        ("labels/val/a.txt", ""),
        ("val/a.txt", "text files of its name lie in 'val' (1)"),
        ("val/images/labels/a.txt", "text files of its name lie in 'val/images/labels' (1)"),
        ("val/labels/a.TXT", "files with .TXT of its name lie in 'val/labels' (1)"),
        ("val/annotations/a.xml", "Pascal VOC files of its name lie in 'val/annotations' (1)"),
        ("val/images/a.json", "JSON files of its name lie beside the pictures in 'val/images' (1)"),
    ],
)
def test_files_that_lie_elsewhere_are_told(tmp_path: Path, lying: str, told: str) -> None:
    lay(tmp_path, "val/images/a.jpg", lying)
    labels = found(tmp_path, "val/images")
    assert labels.elsewhere() == ([told] if told else [])
    start = "1 of 1 validation pictures has no label file where it is looked for (the first: val/labels/a.txt)"
    assert labels.missing_line() == (f"{start}; {told}" if told else start)


def test_folders_without_any_label_are_named(tmp_path: Path) -> None:
    lay(tmp_path, "a/images/1.jpg", "a/images/2.jpg", "a/labels/1.txt", "b/images/3.jpg", "b/images/4.jpg")
    lay(tmp_path, "c/images/5.jpg", "c/labels/5.txt")
    places = ("a/images", "b/images", "c/images")
    assert found(tmp_path, *places).bare_folders() == ["no picture in 'b/images' has a label file (2 pictures)"]
    assert found(tmp_path, "b/images").bare_folders() == []  # of one folder that is said already


def test_paths_outside_the_data_set_are_told_by_their_name(tmp_path: Path) -> None:
    lay(tmp_path, "else/pictures/a.jpg")
    (tmp_path / "set").mkdir()
    labels = found(tmp_path / "set", "../else/pictures")
    assert "(the first: a.txt)" in labels.missing_line()
