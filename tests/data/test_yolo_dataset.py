"""A data.yaml is distinguished from other files in which data sets come, each in one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecompile.compose.composition import compose
from edgecompile.data.label_lines import LabelFacts
from edgecompile.data.yolo_dataset import read_data
from edgecompile.errors import RecipeError
from edgecompile.recipe.materials import find_materials

DATA = "train: images/train\nval: images/val\nnames: [a, b]\n"


def refused(file: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        read_data(file)
    (problem,) = caught.value.problems
    return str(problem)


def test_what_holds_for_all_labels(here: Path):
    (here / "d.yaml").write_text(f"{DATA}kpt_shape: [2, 3]\nkpt_oks_sigmas: [0.1, 1]\nflip_idx: [1, 0]\n")
    data = read_data(here / "d.yaml")
    assert data.facts == LabelFacts(2, (2, 3), (0.1, 1.0))
    assert sorted(data.splits) == ["train", "val"]
    (here / "d.yaml").write_text(f"{DATA}kpt_shape: null\n")
    assert read_data(here / "d.yaml").facts == LabelFacts(2)


@pytest.mark.parametrize(
    "value", ["17", "[17]", "[17, 4]", "[0, 2]", "[true, 2]", "[17.0, 3]", "[99999999, 2]", "{a: 2}"]
)
def test_key_points_of_no_number_are_refused(here: Path, value: str):
    (here / "d.yaml").write_text(f"{DATA}kpt_shape: {value}\n")
    assert refused(here / "d.yaml").startswith("d.yaml:4:kpt_shape: found ")


@pytest.mark.parametrize("value", ["[0.1]", "[0.1, 0]", "[0.1, .nan]", "[0.1, -1]", "[0.1, x]", "0.1"])
def test_sigmas_that_are_not_one_a_key_point_are_refused(here: Path, value: str):
    (here / "d.yaml").write_text(f"{DATA}kpt_shape: [2, 3]\nkpt_oks_sigmas: {value}\n")
    assert "expected 2 positive numbers, one a key point" in refused(here / "d.yaml")


@pytest.mark.parametrize("value", ["9" * 5000, f"0x{'f' * 5000}", f"0b{'1' * 20_000}", ":".join(["59"] * 3000)])
def test_numbers_that_cannot_be_written_are_refused(here: Path, value: str):
    """Python reads them, and fails where it writes one into a message."""
    for key in ("nc", "path", "test"):
        (here / "d.yaml").write_text(f"{DATA}{key}: {value}\n")
        assert refused(here / "d.yaml").startswith(f"d.yaml:4:{key}: a number of {len(value)} digits; write it in")
    (here / "d.yaml").write_text(DATA.replace("[a, b]", f"['{value}', 2024]"))  # the control: text, and a short number
    assert read_data(here / "d.yaml").names == (value, "2024")


@pytest.mark.parametrize("large", [False, True])
def test_cocos_json_is_no_data_yaml_whatever_its_size(here: Path, large: bool):
    boxes = [{"id": number, "image_id": 1, "bbox": [1, 2, 3, 4]} for number in range(50_000 if large else 1)]
    document = {"images": [{"id": 1}], "annotations": boxes, "categories": [{"id": 1, "name": "a"}]}
    for name in ("instances_val.json", "renamed.yaml"):
        (here / name).write_text(json.dumps(document))
        assert f"{name}: is COCO's JSON, expected a YOLO data.yaml; give it the suffix .json" in refused(here / name)
    (here / "d.json").write_text(json.dumps({"names": ["a"], "val": "images"}))  # the control: JSON is YAML
    assert read_data(here / "d.json").names == ("a",)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("d.zip", "is an archive"),
        ("d.TAR", "is an archive"),
        ("val.txt", "is a listing of pictures"),
        ("d.ndjson", "is a list of pictures for Ultralytics' platform"),
        ("a.xml", "is a label file of Pascal VOC"),
        ("d.csv", "is a table"),
    ],
)
def test_files_of_other_formats_are_refused_by_name(here: Path, name: str, told: str):
    (here / name).write_text(DATA)
    assert refused(here / name).startswith(f"{name}: {told}, expected a YOLO data.yaml; ")


def test_a_split_named_validation_is_val(here: Path):
    """As Ultralytics renames it."""
    (here / "d.yaml").write_text(DATA.replace("val:", "validation:"))
    assert read_data(here / "d.yaml").splits["val"] == "images/val"
    (here / "d.yaml").write_text(f"{DATA}validation: other\n")
    assert read_data(here / "d.yaml").splits["val"] == "images/val"


def test_a_folder_of_classes_is_told(here: Path):
    (here / "set/train/cat").mkdir(parents=True)
    for split in ("train", "test"):
        (here / "set" / split / "cat").mkdir(parents=True, exist_ok=True)
        for number in range(40):
            (here / "set" / split / f"cat/{number}.jpg").write_bytes(f"{split} {number}".encode())
    with pytest.raises(
        RecipeError, match="folders of classes, as data sets for classification have, not the labels of"
    ):
        find_materials(compose("quickstart", "data.path=set"))
    (here / "set/data.yaml").write_text(DATA)
    with pytest.raises(RecipeError, match=r"is a folder; expected a file; name set/data\.yaml"):
        find_materials(compose("quickstart", "data.path=set"))
