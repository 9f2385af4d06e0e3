"""What a data set leaves out is counted, remarked on beyond a share, and refused beyond another."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unicodedata import normalize

import cv2
import pytest

from edgecompile.compose.composition import compose
from edgecompile.data.counts import DataCounts, LabelCounts, SplitCounts, counts_from, describe
from edgecompile.errors import RecipeError
from edgecompile.places import sample_folder
from edgecompile.plan.graph import Materials
from edgecompile.recipe.materials import find_materials

SAMPLE = sample_folder()


@pytest.fixture
def data(here: Path) -> Path:
    """The folder of a copy of the embedded data set, of 32 pictures to validate on, that a test may damage."""
    for part in ("images", "labels"):
        shutil.copytree(SAMPLE / part, here / "set" / part)
    shutil.copy(SAMPLE / "data.yaml", here / "set" / "data.yaml")
    return here / "set"


composed = cache(compose)
"""Composes a recipe once; where the data set lies is looked up each time."""


def found(*words: str) -> Materials:
    return find_materials(composed("quickstart", "data.path=set/data.yaml", *words))


def refused(*words: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        found(*words)
    return [str(one) for one in caught.value.problems]


def remarks(*words: str) -> list[str]:
    """Returns the remarks but those on how many pictures there are."""
    return [one for one in found(*words).notes if not one.startswith(("calibrating", "validating", "model."))]


def each(folder: Path, do: Callable[[Path], object], count: int) -> None:
    """Does something to the first files of a folder."""
    for path in sorted(folder.iterdir())[:count]:
        do(path)


def as_heic(path: Path) -> None:
    path.rename(path.with_suffix(".heic"))


def test_a_whole_data_set_is_counted_without_a_remark(data: Path):
    materials = found()
    assert materials.counts == DataCounts(
        SplitCounts("test", 32, 32), LabelCounts(0, 0, materials.counts.labels.objects), SplitCounts("train", 96, 96)
    )
    lines = sum(len(path.read_text().split("\n")) - 1 for path in (data / "labels/test").iterdir())
    assert materials.counts.labels.objects == lines
    assert remarks() == []


def test_half_of_the_pictures_as_tiff_are_the_same_pictures(data: Path):
    def as_tiff(path: Path) -> None:
        cv2.imwrite(str(path.with_suffix(".tif")), cv2.imread(str(path)))
        path.unlink()

    each(data / "images/test", as_tiff, 16)
    materials = found()
    assert materials.counts.validation == SplitCounts("test", 32, 32)
    assert sum(path.endswith(".tif") for path in materials.validation.paths) == 16
    assert remarks() == []


@pytest.mark.slow
@pytest.mark.parametrize(("left_out", "told"), [(1, "counted"), (2, "remarked"), (16, "remarked"), (17, "refused")])
def test_pictures_left_out_are_told_by_their_share(data: Path, left_out: int, told: str):
    """1 of 32 is less than 5 %, 16 are 50 % and no more."""
    each(data / "images/test", as_heic, left_out)
    line = (
        f"{left_out} of 32 validation pictures of 'test' are left out: {left_out} .heic, which OpenCV does not decode"
    )
    if told == "refused":
        assert refused() == [
            f"set/data.yaml:3:test: {line}; convert or remove them, or raise data.error_share knowingly"
        ]
        assert remarks("data.error_share=0.6") == [line]
        return
    assert remarks() == ([line] if told == "remarked" else [])
    counts = found().counts.validation
    assert (counts.found, counts.used, counts.omitted) == (32, 32 - left_out, left_out)
    assert remarks("data.remark_share=0") == [line]
    assert remarks("data.remark_share=0.5") == []
    assert refused("data.error_share=0.01")


def test_pictures_left_out_of_the_calibration_count_too(data: Path):
    each(data / "images/train", as_heic, 6)
    assert remarks() == ["6 of 96 calibration pictures of 'train' are left out: 6 .heic, which OpenCV does not decode"]
    assert found().counts.calibration == SplitCounts("train", 96, 90, 0, {".heic, which OpenCV does not decode": 6})
    each(data / "images/train", as_heic, 49)
    assert "49 of 96 calibration pictures of 'train' are left out" in refused()[0]


def test_pictures_left_out_are_told_where_too_few_are_left(data: Path):
    each(data / "images/test", as_heic, 26)
    each(data / "images/train", as_heic, 80)
    told = refused("data.validation.minimum=8")
    assert [one.partition(": ")[2].partition(";")[0] for one in told] == [
        "split 'test' has 6 pictures to validate on, fewer than 8",
        "26 of 32 validation pictures of 'test' are left out: 26 .heic, which OpenCV does not decode",
        "split 'train' has 16 pictures to calibrate with, fewer than 32",
        "80 of 96 calibration pictures of 'train' are left out: 80 .heic, which OpenCV does not decode",
    ]


def test_those_not_chosen_are_not_left_out(data: Path):
    counts = found("data.validation.images=8", "data.calibration.images=40").counts
    assert counts.validation == SplitCounts("test", 32, 8)
    assert counts.calibration == SplitCounts("train", 96, 40)


@pytest.mark.slow
@pytest.mark.parametrize(("missing", "told"), [(1, "counted"), (2, "remarked"), (16, "remarked"), (17, "refused")])
def test_pictures_without_a_label_file_are_told_by_their_share(data: Path, missing: int, told: str):
    each(data / "labels/test", Path.unlink, missing)
    have = "has" if missing == 1 else "have"
    line = (
        f"{missing} of 32 validation pictures {have} no label file where it is looked for "
        "(the first: labels/test/test_0000.txt)"
    )
    if told == "refused":
        fix = "write an empty file for each picture without objects, or raise data.error_share knowingly"
        assert refused() == [f"set/data.yaml:3:test: {line}; {fix}"]
    else:
        count = "; they count as pictures without objects"
        assert remarks() == ([line + count] if told == "remarked" else [])
        assert found().counts.labels.missing == missing
        assert remarks("data.remark_share=0") == [line + count]
        assert refused("data.error_share=0.01")


def test_an_empty_label_file_is_a_picture_without_objects(data: Path):
    """The control: whoever writes empty files says what is meant."""
    each(data / "labels/test", lambda path: path.write_text("\n"), 31)
    assert remarks() == []
    assert (found().counts.labels.missing, found().counts.labels.empty) == (0, 31)


def test_no_label_at_all_is_refused_whatever_the_share(data: Path):
    shutil.rmtree(data / "labels/test")
    assert "none of 32 pictures has labels; expected " in refused("data.error_share=1")[0]


def test_labels_beside_the_pictures_are_told(data: Path):
    (data / "more/images").mkdir(parents=True)
    for path in sorted((data / "images/test").iterdir())[:16]:
        path.rename(data / "more/images" / path.name)
        label = data / "labels/test" / f"{path.stem}.txt"
        label.rename(data / "more/images" / label.name)
    text = (data / "data.yaml").read_text().replace("test: images/test", "test: [images/test, more/images]")
    (data / "data.yaml").write_text(text)
    assert remarks() == [
        "16 of 32 validation pictures have no label file where it is looked for (the first: more/labels/test_0000.txt)"
        "; text files of their names lie beside the pictures in 'more/images' (16); they count as pictures without "
        "objects",
        "no picture in 'more/images' has a label file (16 pictures)",
    ]
    (data / "more/images").rename(data / "more/pictures")  # where Ultralytics finds labels beside the pictures
    (data / "data.yaml").write_text(text.replace("more/images", "more/pictures"))
    assert remarks() == []


def test_one_label_beside_its_picture_is_told_whatever_the_share(data: Path):
    first = min((data / "labels/test").iterdir())
    first.rename(data / "images/test" / first.name)
    (line,) = remarks()
    assert "text files of its name lie beside the pictures in 'images/test' (1)" in line


def test_labels_of_another_format_are_told(data: Path):
    (data / "annotations").mkdir()
    for path in (data / "labels/test").iterdir():
        path.rename(data / "images/test" / f"{path.stem}.xml")
    assert "Pascal VOC files of their names lie beside the pictures in 'images/test' (32)" in refused()[0]


def test_folders_of_classes_are_told(data: Path):
    shutil.rmtree(data / "labels")
    for number, path in enumerate(sorted((data / "images/test").iterdir())):
        (data / "images/test" / ("bolt", "nut")[number % 2]).mkdir(exist_ok=True)
        path.rename(data / "images/test" / ("bolt", "nut")[number % 2] / path.name)
    assert "folders are named as classes, as data sets for classification have them" in refused()[0]


def test_names_in_another_unicode_form_are_found_and_told(data: Path):
    def renamed(path: Path) -> None:
        form = "NFC" if path.suffix == ".jpg" else "NFD"
        path.rename(path.with_name(normalize(form, f"é{path.name}")))

    for folder in ("images/test", "labels/test"):
        each(data / folder, renamed, 3)
    assert found().counts.labels.missing == 0
    assert found().counts.labels.renamed == 3
    assert remarks() == [
        "3 label files are named as the picture in another Unicode normalisation; Ultralytics does not find them"
    ]


def test_pictures_named_twice_are_used_once_and_told(data: Path):
    os.symlink("test_0000.jpg", data / "images/test/again.jpg")
    text = (data / "data.yaml").read_text()
    (data / "data.yaml").write_text(text.replace("train: images/train", "train: [images/train, images/train]"))
    counts = found().counts
    assert (counts.validation.found, counts.validation.repeated) == (32, 1)
    assert (counts.calibration.found, counts.calibration.repeated) == (96, 96)
    assert remarks() == [
        "split 'train' names pictures 96 times more that it has named already; each is used once",
        "split 'test' names pictures once more that it has named already; each is used once",
    ]


POLYGONS = "0 0.5 0.2 0.6 0.2 0.6 0.3 0.5 0.3\n"
POSES = "0 0.5 0.5 0.4 0.4 0.4 0.4 0.6 0.4 0.6 0.6 0 0\n"
SEEN = "0 0.5 0.5 0.4 0.4 0.4 0.4 1 0.6 0.4 0\n" + "1 0.2 0.2 0.1 0.1 0.2 0.2 1 0.2 0.2 1\n"


@pytest.mark.parametrize(
    ("text", "values"), [(POSES, 13), (SEEN, 11), (POLYGONS + POLYGONS.replace("0.5", "0.9"), 0), (POSES + POLYGONS, 0)]
)
def test_polygons_that_read_as_poses_are_told(data: Path, text: str, values: int):
    each(data / "labels/test", lambda path: path.write_text(text), 32)
    told = [one for one in remarks() if "box with key points" in one]
    assert len(told) == bool(values)
    assert all(one.startswith(f"each line of labels has {values} values") for one in told)


def test_a_label_that_is_no_file_of_labels_is_refused(data: Path):
    first, second, third = sorted((data / "labels/test").iterdir())[:3]
    first.unlink()
    os.mkfifo(first)
    second.unlink()
    second.mkdir()
    with open(third, "wb") as stream:
        stream.truncate((64 << 20) + 1)
    assert [one.rpartition(": ")[2] for one in refused()] == [
        "a label file that is not a regular file is not read",
        "a label file that is not a regular file is not read",
        "a label file that is larger than 64 MiB is not read",
    ]


@pytest.mark.slow
def test_a_plan_states_the_counts(data: Path, run):
    each(data / "images/test", as_heic, 4)
    each(data / "labels/test", Path.unlink, 5)
    ran = run("plan", "quickstart", "data.path=set/data.yaml", "--json")
    document = json.loads(ran.out)
    assert document["data"]["validation"] == {
        "split": "test", "found": 32, "used": 28, "repeated": 0, "left_out": {".heic, which OpenCV does not decode": 4},
    }  # fmt: skip
    assert document["data"]["labels"]["missing"] == 1
    assert counts_from(document["data"]) == found().counts
    assert len([one for one in document["notes"] if "left out" in one]) == 1
    shown = " ".join(run("plan", "quickstart", "data.path=set/data.yaml").out.split())
    for what, numbers in describe(found().counts):
        assert f"{what}: {numbers}" in shown
    assert "validation pictures: 32 found in 'test', 28 used; left out: 4 .heic, which OpenCV does not decode;" in shown


def test_counts_are_the_same_in_plain_json():
    counts = DataCounts(SplitCounts("a", 5, 3, 1, {"b": 1, "a": 1}), LabelCounts(1, 0, 7), SplitCounts("c", 2, 2))
    assert counts_from(json.loads(json.dumps(counts.as_json()))) == counts
    assert list(counts.as_json()["validation"]["left_out"]) == ["a", "b"]
    alone = DataCounts(SplitCounts("a", 5, 3), LabelCounts(1, 0, 7))
    assert counts_from(alone.as_json()) == alone
