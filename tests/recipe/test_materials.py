"""Materials: what is found where, in which order, and every way in which a data set can be wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edgecompile.bundle.assemble import portable
from edgecompile.compose.composition import compose
from edgecompile.data.split_listing import Folders
from edgecompile.data.yolo_dataset import DataFile, list_split, read_data
from edgecompile.errors import RecipeError
from edgecompile.places import fetched_folder, sample_folder
from edgecompile.recipe.materials import find_materials
from edgecompile.recipe.picture_materials import Files, spread

SAMPLE = sample_folder()


@pytest.fixture
def data(here: Path) -> Path:
    """A copy of the embedded data set that a test may damage; returns its data.yaml."""
    for part in ("images", "labels"):
        shutil.copytree(SAMPLE / part, here / "set" / part)
    shutil.copy(SAMPLE / "data.yaml", here / "set" / "data.yaml")
    return here / "set" / "data.yaml"


def wrong(*words: str) -> list[str]:
    """Returns the problems of finding the materials of a recipe."""
    with pytest.raises(RecipeError) as caught:
        find_materials(compose("quickstart", *words))
    return [str(one) for one in caught.value.problems]


def pictures_of(data: DataFile, split: str, where: str) -> list[str]:
    """Returns the pictures of a split."""
    return list_split(data, split, where, Folders()).pictures


def test_the_embedded_sample():
    found = find_materials(compose())
    assert found.weights.paths == (str(SAMPLE / "parts.pt"),)
    assert found.names == ("bolt", "nut", "washer")
    assert found.calibration is not None
    assert len(found.calibration.paths) == 96
    assert len(found.validation.paths) == len(found.labels.paths) == 32
    assert [Path(one).stem for one in found.validation.paths] == [Path(one).stem for one in found.labels.paths]
    assert list(found.validation.paths) == sorted(found.validation.paths)
    assert found.notes == (
        "model.imgsz is 256, which 'parts.pt' was trained at",
        "calibrating with all 96 pictures of 'train'; 300 were asked for",
        "validating on 32 pictures of 'test', fewer than 50: a difference in accuracy may be chance",
    )


def test_pictures_are_chosen_evenly():
    words = (
        "model.imgsz=256",
        "data.calibration.images=32",
        "data.validation.images=8",
        "data.validation.warn_below=8",
    )
    found = find_materials(compose("quickstart", *words))
    assert [Path(one).stem for one in found.calibration.paths][:3] == ["train_0000", "train_0003", "train_0006"]
    assert [Path(one).stem for one in found.validation.paths] == [f"test_{number:04}" for number in range(0, 32, 4)]
    assert found.notes == ()


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [0]), (3, [0, 3, 6]), (10, list(range(10))), (99, list(range(10)))]
)
def test_spread(count, expected):
    assert spread(range(10), count) == expected


def test_no_calibration_pictures_where_no_pass_calibrates():
    assert find_materials(compose("quickstart", "passes.int8_static=null")).calibration is None


@pytest.mark.slow
def test_too_few_validation_pictures(data):
    for picture in sorted((data.parent / "images/test").iterdir())[7:]:
        picture.unlink()
    words = ("quickstart", f"data.path={data}")
    with pytest.raises(RecipeError) as caught:
        find_materials(compose(*words))
    (problem,) = caught.value.problems
    assert str(problem).endswith(
        "data.validation: split 'test' has 7 pictures to validate on, fewer than 8; "
        "use a larger split, or lower data.validation.minimum knowingly"
    )
    few = find_materials(compose(*words, "data.validation.minimum=7"))  # the control
    assert len(few.validation.paths) == 7
    assert few.notes[-1].startswith("validating on 7 pictures of 'test', fewer than 50")


def test_what_judges_the_pictures_is_no_part_of_what_is_built():
    """A lock that states none of it is read word for word, whatever its default becomes."""
    changed = ("data.validation.minimum=1", "data.validation.warn_below=0", "data.remark_share=1", "data.error_share=1")
    assert portable(compose("quickstart", *changed)) == portable(compose("quickstart"))


def test_too_few_calibration_pictures(data):
    for number, picture in enumerate(sorted((data.parent / "images/train").iterdir())):
        if number >= 20:
            picture.unlink()
    found = wrong(f"data.path={data}")
    assert len(found) == 1
    assert "split 'train' has 20 pictures to calibrate with, fewer than 32" in found[0]
    few = find_materials(compose("quickstart", f"data.path={data}", "data.calibration.minimum=20"))  # the control
    assert len(few.calibration.paths) == 20


def test_a_missing_split(data):
    found = wrong(f"data.path={data}", "data.validation.split=tset")
    assert found == [
        "command line:data.validation.split: set/data.yaml has no split 'tset'; did you mean 'test'?",
    ]


def test_an_empty_split(data):
    shutil.rmtree(data.parent / "images/test")
    (data.parent / "images/test").mkdir()
    assert wrong(f"data.path={data}")[0].startswith("set/data.yaml:3:test: split 'test' is empty")


def test_a_folder_that_is_not_there(data):
    shutil.rmtree(data.parent / "images/test")
    assert wrong(f"data.path={data}")[0].startswith("set/data.yaml:3:test: 'images/test' not found (looked in ")


def test_malformed_labels(data):
    first, second = sorted((data.parent / "labels/test").iterdir())[:2]
    first.write_text("0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1\n7 0.5 0.5 0.1 0.1\n")
    second.write_text("0 0.5 0.5 0.1 1.5\n\n0.5 0.5 0.5 0.1 0.1\n0 a b c d\n")
    found = wrong(f"data.path={data}")
    assert [one.partition(": ")[0] for one in found] == [
        f"set/labels/test/{first.name}:2",
        f"set/labels/test/{first.name}:3",
        f"set/labels/test/{second.name}:1",
        f"set/labels/test/{second.name}:3",
        f"set/labels/test/{second.name}:4",
    ]


def test_many_malformed_labels_are_shortened(data):
    for file in (data.parent / "labels/test").iterdir():
        file.write_text("9 0.5 0.5 0.1 0.1\n" * 10)
    found = wrong(f"data.path={data}")
    assert len(found) == 21
    assert found[-1] == "and 300 more problems of this kind"


def test_no_labels_at_all(data):
    shutil.rmtree(data.parent / "labels")
    assert "none of 32 pictures has labels; expected " in wrong(f"data.path={data}")[0]


def test_a_picture_without_objects_needs_no_label_file(data):
    next((data.parent / "labels/test").iterdir()).unlink()
    assert len(find_materials(compose("quickstart", f"data.path={data}")).labels.paths) == 32


def test_an_empty_picture(data):
    picture = min((data.parent / "images/test").iterdir())
    picture.write_bytes(b"")
    assert wrong(f"data.path={data}") == [f"set/images/test/{picture.name}: the picture is an empty file"]


def test_the_same_split_twice(data):
    found = wrong(f"data.path={data}", "data.validation.split=train")
    assert "96 of 96 validation pictures are calibration pictures too (the first: train_0000.jpg)" in found[0]


def test_the_same_picture_under_another_name(data):
    copied = data.parent / "images/train/zzz.jpg"
    shutil.copy(data.parent / "images/test/test_0003.jpg", copied)
    found = wrong(f"data.path={data}")
    assert "1 of 32 validation pictures are calibration pictures too (the first: test_0003.jpg is zzz.jpg)" in found[0]
    copied.write_bytes(copied.read_bytes()[:-1] + b"\0")  # as large, but another picture: the control
    find_materials(compose("quickstart", f"data.path={data}"))


def test_only_pictures_of_equal_size_are_read():
    files = Files()
    found = find_materials(compose(), files)
    assert files.digest.cache_info().misses < len(found.calibration.paths) / 2


def test_a_file_is_looked_at_once_for_all_points_of_a_sweep():
    files = Files()
    found = find_materials(compose(), files)
    looked = files.labels.cache_info().misses, files.size.cache_info().misses
    assert looked[0] == len(found.labels.paths)
    assert find_materials(compose("data.calibration.images=20", "data.calibration.minimum=10"), files) != found
    assert (files.labels.cache_info().misses, files.size.cache_info().misses) == looked


def test_weights_that_are_not_there():
    assert wrong("model.weights=yolo11n.pt")[0].endswith("not at hand; run `edgecompile fetch yolo11n.pt`")
    assert wrong("model.weights=nope.pt")[0].startswith("command line:model.weights: weights 'nope.pt' not found")
    assert "did you mean 'yolo11m.pt'?" in wrong("model.weights=yolo11m9.pt")[0]
    assert "did you mean 'coco128.yaml'?" in wrong("data.path=coco128.yml")[0]
    assert "leaves the embedded sample" in wrong("model.weights=sample://../errors.py")[0]


def test_weights_that_are_no_weights(here):
    (here / "empty.pt").write_bytes(b"")
    (here / "notes.txt").write_text("x")
    assert wrong("model.weights=empty.pt") == ["command line:model.weights: weights 'empty.pt' are empty"]
    assert "neither a checkpoint nor a model" in wrong("model.weights=notes.txt")[0]
    assert "is a folder" in wrong(f"model.weights={here}")[0]


def test_all_at_once(data):
    (data.parent / "labels/test/test_0000.txt").write_text("x\n")
    found = wrong(f"data.path={data}", "model.weights=nope.pt")
    assert len(found) == 2


def test_what_was_fetched_is_found():
    fetched_folder().mkdir(parents=True)
    shutil.copy(SAMPLE / "parts.pt", fetched_folder() / "yolo11n.pt")
    found = find_materials(compose("quickstart", "model.weights=yolo11n.pt"))
    assert found.weights.paths == (str(fetched_folder() / "yolo11n.pt"),)


WRONG_DATA = [
    ("path: .\ntrain: images/train\n", "d.yaml: names no classes"),
    ("names: []\n", "d.yaml:1:names: names no classes"),
    ("names: {0: a, 2: b}\n", "d.yaml:1:names: classes are numbered 0, 2, expected 0 to 1, each once"),
    ("names: [a, b]\nnc: 3\n", "d.yaml:2:nc: nc is 3, but 2 classes are named"),
    ("names: [a]\npath: [x]\n", "d.yaml:2:path: found ['x'], expected a folder"),
    ("names: [a\n", "d.yaml:2: not YAML"),
    ("names: &x [a]\n", "d.yaml:1"),
    ("- a\n", "d.yaml:1: holds no keys"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG_DATA)
def test_a_wrong_data_yaml(here, text, expected):
    (here / "d.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_data(here / "d.yaml")
    assert str(caught.value).startswith(expected)


def test_splits_of_every_form(data):
    root = data.parent
    (root / "some.txt").write_text("./images/val/val_0001.jpg\nimages/val/val_0000.jpg\n\n")
    data.write_text(
        "names: [a]\ntrain: [images/train, images/val]\nval: ../images/val\ntest: some.txt\nbad: bad.txt\nnay: 3\n"
    )
    read = read_data(data)
    assert len(pictures_of(read, "train", "")) == 96 + len(list((root / "images/val").iterdir()))
    assert pictures_of(read, "test", "") == [str(root / f"images/val/val_000{one}.jpg") for one in (0, 1)]
    assert len(pictures_of(read, "val", "")) > 0  # ../ as Roboflow writes it
    (root / "bad.txt").write_text("images/val/val_0000.jpg\nnope.jpg\n")
    with pytest.raises(RecipeError, match=r"set/bad.txt:2: picture 'nope.jpg' not found"):
        pictures_of(read, "bad", "")
    with pytest.raises(RecipeError, match=r"a folder or a \.txt listing"):
        pictures_of(read, "nay", "")


def test_the_root_is_relative_to_the_file(data, here):
    (here / "other").mkdir()
    (here / "other/d.yaml").write_text("path: ../set\nval: images/val\nnames: [a]\n")
    assert pictures_of(read_data(here / "other/d.yaml"), "val", "")[0] == str(data.parent / "images/val/val_0000.jpg")


def test_a_picture_whose_name_is_no_text_is_refused_before_anything_runs(tmp_path):
    data = shutil.copytree(SAMPLE, tmp_path / "data")
    pictures = os.fsencode(data / "images/test")
    os.rename(os.path.join(pictures, b"test_0000.jpg"), os.path.join(pictures, b"test_\xe9.jpg"))
    problems = wrong(f"data.path={data / 'data.yaml'}", "data.validation.split=test")
    assert any("test_\\xe9.jpg' is not UTF-8; rename it" in problem for problem in problems), problems
