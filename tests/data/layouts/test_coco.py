"""COCO's JSON says what the same labels say in YOLO's layout; whatever is malformed is one line with its path."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from coco_text import as_coco, write_coco

from edgecompile.compose.composition import compose
from edgecompile.data import box_labels, key_point_labels, polygon_labels
from edgecompile.data.coco_document import read_document
from edgecompile.data.coco_outlines import mask_of, outline
from edgecompile.data.label_lines import LabelFacts, LabelForm
from edgecompile.data.label_reading import LabelReading, reading_from
from edgecompile.data.layouts import find_layout, layout_names, layout_of
from edgecompile.errors import RecipeError
from edgecompile.places import sample_folder
from edgecompile.plan.graph import Materials
from edgecompile.plan.resolve import resolve
from edgecompile.recipe.materials import find_materials

SAMPLE = sample_folder()
NAMES = ("bolt", "nut", "washer")


@cache
def converted(split: str) -> dict[str, Any]:
    """Returns the document of a split of the embedded data set."""
    pictures = sorted((SAMPLE / "images" / split).glob("*.jpg"))
    return as_coco(pictures, [SAMPLE / "labels" / split / f"{picture.stem}.txt" for picture in pictures], NAMES)


@pytest.fixture
def data(here: Path) -> Path:
    """The embedded data set with a document for each of two splits; returns that of the test split."""
    for split in ("train", "test"):
        shutil.copytree(SAMPLE / "images" / split, here / "set" / split)
        write_coco(here / f"set/annotations/instances_{split}.json", converted(split))
    return here / "set/annotations/instances_test.json"


def changed(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def found(path: Path, *words: str) -> Materials:
    return find_materials(compose("quickstart", f"data.path={path}", *words))


def wrong(path: Path, *words: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        found(path, *words)
    return [str(problem) for problem in caught.value.problems]


def test_the_layouts():
    assert layout_names() == ("coco", "folders", "yolo")
    assert layout_of(SAMPLE / "data.yaml").name == "yolo"


def test_the_same_data_set_in_both_layouts(data):
    ours, yolo = found(data), find_materials(compose("quickstart"))
    assert ours.names == yolo.names
    assert [Path(path).name for path in ours.validation.paths] == [Path(path).name for path in yolo.validation.paths]
    assert ours.calibration is not None
    assert len(ours.calibration.paths) == 96
    assert ours.labels.paths == (str(data),)
    assert ours.counts is not None
    assert yolo.counts is not None
    assert ours.counts.as_json() == yolo.counts.as_json()
    reading = reading_from(json.loads(json.dumps(ours.reading.as_json())))
    assert reading == ours.reading
    lines = find_layout("coco").read_lines([data], reading, LabelForm.BOXES)
    plain = find_layout("yolo").read_lines([Path(one) for one in yolo.labels.paths], LabelReading(), LabelForm.BOXES)
    for one, other in zip(lines, plain, strict=True):
        a, b = (box_labels.read_labels(each, LabelFacts(3)) for each in (one, other))
        np.testing.assert_array_equal(a.classes, b.classes)
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-7)


def test_a_data_yaml_names_documents_and_classes(data):
    """Classes are numbered by its names, whatever ids the categories have."""
    changed(data, lambda document: document["categories"].reverse())
    text = "names: [washer, Nut, bolt]\ntrain: train\ntest: annotations/instances_test.json\nimages: {test: test}\n"
    (data.parents[1] / "data.yaml").write_text(text)
    ours = found(data.parents[1] / "data.yaml")
    assert ours.names == ("washer", "Nut", "bolt")
    lines = find_layout("coco").read_lines([data], ours.reading, LabelForm.BOXES)
    plain = find_layout("coco").read_lines([data], found(data).reading, LabelForm.BOXES)
    assert [2 - fields[0] for one in lines for _, fields in one.lines] == [
        fields[0] for one in plain for _, fields in one.lines
    ]
    (data.parents[1] / "data.yaml").write_text(text.replace("names: [washer, Nut, bolt]", "names: [nut]"))
    notes = found(data.parents[1] / "data.yaml").notes
    assert any("of categories that are not among the classes" in note for note in notes)
    assert "categories that are not among the classes: bolt, washer" in notes
    (data.parents[1] / "data.yaml").write_text(text.replace("names: [washer, Nut, bolt]", "names: [cat]"))
    assert (
        "no category (bolt, nut, washer) is among the classes; classes: cat" in wrong(data.parents[1] / "data.yaml")[0]
    )


def test_the_model_numbers_the_classes(data):
    def renumber(document: dict[str, Any]) -> None:
        for category in document["categories"]:
            category["id"] = 10 - category["id"]
        for annotation in document["annotations"]:
            annotation["category_id"] = 10 - annotation["category_id"]

    changed(data, renumber)
    assert found(data).names == NAMES
    changed(data, lambda document: document["categories"][0].update(name="gear"))
    assert found(data).names == ("washer", "nut", "gear")  # the control: in the order of the ids


def test_roboflows_category_above_all_is_no_class(data):
    def add(document: dict[str, Any]) -> None:
        document["categories"] = [
            {"id": 0, "name": "parts", "supercategory": "none"},
            *({**one, "name": f"a {one['name']}", "supercategory": "parts"} for one in document["categories"]),
        ]

    changed(data, add)
    assert found(data).names == ("a bolt", "a nut", "a washer")


def test_what_is_left_out_is_counted(data):
    def change(document: dict[str, Any]) -> None:
        document["annotations"][0]["iscrowd"] = 1
        document["annotations"][1]["bbox"][2] = 0
        document["images"][5]["file_name"] = "gone.jpg"

    before = found(data).counts
    gone = len([one for one in json.loads(data.read_text())["annotations"] if one["image_id"] == 5])
    changed(data, change)
    ours = found(data)
    assert before is not None
    assert ours.counts is not None
    assert ours.counts.validation.left_out == {"that are not there": 1}
    assert ours.counts.labels.objects == before.labels.objects - 2 - gone
    assert "2 objects of instances_test.json are left out: 1 crowds (iscrowd), 1 without width or height" in ours.notes


def test_a_picture_of_both_splits_is_found(data):
    train = sorted((data.parents[1] / "train").glob("*.jpg"))[0]
    shutil.copy(train, sorted((data.parents[1] / "test").glob("*.jpg"))[0])
    assert "1 of 32 validation pictures are calibration pictures too" in wrong(data)[0]


def links(document: dict[str, Any]) -> None:
    """Makes the first picture a link to what lies outside."""
    (picture,) = Path().glob(f"set/test/{document['images'][0]['file_name']}")
    picture.unlink()
    os.symlink("/etc/hostname", picture)


def first(key: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document[key][0].update(values)


SQUARE = [1, 1, 9, 1, 9, 9, 1, 9]
MALFORMED = {
    "a name that climbs": (first("images", file_name="../../etc/passwd"), ":images[0].file_name: ", "leads out of"),
    "an absolute name": (first("images", file_name="/etc/passwd"), ":images[0].file_name: ", "leads out of"),
    "a link that leads out": (links, ":images[0].file_name: ", "is a link that leads out of the folder"),
    "no name": (first("images", file_name=None), ":images[0].file_name: ", "found null"),
    "a name with a null": (first("images", file_name="a\0.jpg"), ":images[0].file_name: ", "expected the name"),
    "a name that is no text": (first("images", file_name="\ud800.jpg"), ":images[0].file_name: ", "expected the name"),
    "a name of a screen": (first("images", file_name="\x1b[2J/../a"), ":images[0].file_name: ", "leads out of"),
    "two of one name": (
        lambda document: document["images"][0].update(file_name=document["images"][1]["file_name"]),
        ":images[1].file_name: ",
        "is that of images[0] too",
    ),
    "two of one id": (first("images", id=1), ":images[1].id: ", "1 is that of images[0] too"),
    "no width": (first("images", width=0), ":images[0].width: ", "found 0, expected 1 to"),
    "an id that is a list": (first("images", id=[1]), ":images[0].id: ", "found [1], expected a number"),
    "a truth as id": (first("images", id=True), ":images[0].id: ", "found true"),
    "an entry that is none": (lambda document: document["images"].append(7), ":images[32]: ", "found 7, expected an"),
    "no annotations": (lambda document: document.pop("annotations"), ":annotations: ", "is missing, expected a list"),
    "annotations by id": (lambda document: document.update(annotations={}), ":annotations: ", "expected a list"),
    "no categories": (lambda document: document.update(categories=[]), ":categories: ", "names no category"),
    "a category without a name": (first("categories", name=""), ":categories[0].name: ", "expected a name"),
    "a picture that is none": (first("annotations", image_id=999), ":annotations[0].image_id: ", "none of images"),
    "a category that is none": (first("annotations", category_id=99), ":annotations[0].category_id: ", "none of cat"),
    "a box of three": (first("annotations", bbox=[1, 2, 3]), ":annotations[0].bbox: ", "expected x, y, width, height"),
    "a box of nothing": (first("annotations", bbox=None), ":annotations[0].bbox: ", "expected a list of numbers"),
    "a box of words": (first("annotations", bbox=[1, 2, "3", 4]), ":annotations[0].bbox: ", "expected pixels"),
    "a negative box": (first("annotations", bbox=[1, 2, -3, 4]), ":annotations[0].bbox: ", "expected x, y"),
    "a large number": (first("annotations", bbox=[1, 2, 10**400, 4]), ":annotations[0].bbox: ", "expected pixels"),
    "a box outside": (first("annotations", bbox=[9000, 2, 3, 4]), ":annotations[0]: ", "expected a share"),
    "half a crowd": (first("annotations", iscrowd=[1]), ":annotations[0].iscrowd: ", "expected 0 or 1"),
    "a polygon of words": (
        first("annotations", segmentation=[["a", 1]]), ":annotations[0].segmentation[0]: ", "expected pixels"
    ),
    "half a point": (first("annotations", segmentation=[[*SQUARE, 1]]), ":annotations[0].segmentation[0]: ", "pairs"),
    "a mask of another size": (
        first("annotations", segmentation={"size": [1, 1], "counts": [1]}),
        ":annotations[0].segmentation.size: ",
        "the picture's height and width",
    ),
    "a mask too short": (
        first("annotations", segmentation={"size": [192, 256], "counts": [5]}),
        ":annotations[0].segmentation.counts: ",
        "runs of 5 pixels",
    ),
    "a mask of no code": (
        first("annotations", segmentation={"size": [192, 256], "counts": "\x7f\x7f"}),
        ":annotations[0].segmentation.counts: ",
        "cannot be unpacked at character 0",
    ),
    "a mask that does not end": (
        first("annotations", segmentation={"size": [192, 256], "counts": "o" * 9}),
        ":annotations[0].segmentation.counts: ",
        "cannot be unpacked",
    ),
    "key points of no category": (first("annotations", keypoints=[1, 2, 2]), ":annotations[0].keypoints: ", "names"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "place", "words"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_entries_are_one_line(data, change, place, words):
    size = json.loads(data.read_text())["images"][0]
    assert (size["height"], size["width"]) == (192, 256)
    changed(data, change)
    problem = wrong(data)[0]
    assert f"instances_test.json{place}" in problem
    assert words in problem
    assert "\n" not in problem
    assert "\x1b" not in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ("{", "instances_test.json:1: is not JSON"),
        ("[]", "is not COCO's JSON"),
        ("[" * 200_000, "nested too deeply"),
        ('{"images": [NaN]}', "NaN is no number of JSON"),
        (f'{{"images": [{"9" * 5000}]}}', "is not JSON"),
        ('{"images": []', "is not JSON"),
        ('{"images": {}}', "is not COCO's JSON"),
    ],
)
def test_what_is_no_document(data, text, words):
    data.write_text(text)
    assert words in wrong(data)[0]
    data.write_bytes(b"\xff\xfe{}")
    assert "is not UTF-8 text" in wrong(data)[0]


def test_documents_beyond_bounds(data, monkeypatch):
    monkeypatch.setattr("edgecompile.data.coco_document.LARGEST", 100)
    assert "is larger than 0 MiB" in wrong(data)[0]


def test_no_folder_of_pictures(data):
    shutil.move(data.parents[1] / "test", data.parents[2] / "elsewhere")
    assert "no picture that it names is found (the first: test_0000.jpg; looked in " in wrong(data)[0]
    text = "names: [bolt, nut, washer]\ntest: annotations/instances_test.json\ntrain: train\nimages: "
    (data.parents[1] / "data.yaml").write_text(f"{text}../elsewhere\n")
    assert len(found(data.parents[1] / "data.yaml").validation.paths) == 32
    (data.parents[1] / "data.yaml").write_text(f"{text}nowhere\n")
    assert "'nowhere' is no folder" in wrong(data.parents[1] / "data.yaml")[0]


def test_no_document_for_a_split(data):
    (data.parent / "instances_train.json").unlink()
    assert "has no split 'train'" in wrong(data)[0]


def document(folder: Path, annotations: list[dict[str, Any]], **category: Any) -> Path:
    cv2.imwrite(str(folder / "a.png"), np.zeros((40, 60, 3), np.uint8))
    common = {"image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [5, 5, 20, 20]}
    return write_coco(
        folder / "a.json",
        {
            "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
            "annotations": [{"id": number, **common, **one} for number, one in enumerate(annotations)],
            "categories": [{"id": 1, "name": "x", **category}],
        },
    )


PARTS = {
    "one": [[5, 5, 20, 5, 20, 20]],
    "two": [[5, 5, 20, 5, 20, 20, 6, 19], [30, 5, 50, 6, 48, 30]],
    "three": [[5, 5, 20, 5, 20, 20], [30, 5, 50, 6, 48, 30, 31, 28], [10, 25, 25, 26, 24, 35]],
    "four": [
        [5, 5, 9, 5, 9, 9],
        [20, 5, 12, 9, 20, 9, 25, 7],
        [30, 20, 25, 9, 31, 12, 36, 15],
        [40, 30, 45, 30, 44, 35],
    ],
    "short": [[5, 5, 20, 5], [30, 5, 50, 6, 48, 30]],
    "none": [],
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_parts_are_joined_as_ultralytics_joins_them(parts, tmp_path, ultralytics):
    from ultralytics.data.converter import merge_multi_segment

    (picture,) = read_document(document(tmp_path, [{"segmentation": parts}])).pictures.values()
    ours = np.array(outline(picture.objects[0])).reshape(-1, 2)
    fit = [part for part in parts if len(part) >= 6]
    theirs = np.concatenate(merge_multi_segment(fit)) if len(fit) > 1 else np.array(fit, float).reshape(-1, 2)
    np.testing.assert_array_equal(ours, theirs)


def packed(lengths: list[int]) -> str:
    """Returns runs in COCO's packed form: see `rleToString` of its maskApi.c."""
    text = ""
    for index, length in enumerate(lengths):
        value, more = length - (lengths[index - 2] if index > 2 else 0), True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr((bits | 32 * more) + 48)
    return text


CIRCLE = cv2.circle(np.zeros((40, 60), np.uint8), (30, 20), 12, 1, -1)
NOISE = (np.random.default_rng(0).random((40, 60)) > 0.5).astype(np.uint8)
WHOLE = np.ones((40, 60), np.uint8)


@pytest.mark.parametrize("mask", [CIRCLE, NOISE, WHOLE], ids=["circle", "noise", "whole"])
def test_masks_are_traced(mask, tmp_path):
    flat = mask.T.ravel()
    steps = np.flatnonzero(np.diff(np.concatenate(([0], flat)))).tolist()
    plain = np.diff([0, *steps, flat.size]).tolist()
    for counts in (packed(plain), plain):
        file = document(tmp_path, [{"segmentation": {"size": [40, 60], "counts": counts}}])
        (picture,) = read_document(file).pictures.values()
        runs = picture.objects[0].runs
        assert runs is not None
        assert list(runs.lengths) == plain
        np.testing.assert_array_equal(mask_of(runs), mask)
    again = cv2.fillPoly(np.zeros((40, 60), np.uint8), [np.array(outline(picture.objects[0]), int).reshape(-1, 2)], 1)
    assert (again >= mask).mean() > 0.9
    if mask is not NOISE:
        np.testing.assert_array_equal(again, mask)


def test_packed_masks_are_those_of_coco():
    mask_api = pytest.importorskip("faster_coco_eval.core.mask")
    for mask in (CIRCLE, NOISE, WHOLE):
        steps = np.flatnonzero(np.diff(np.concatenate(([0], mask.T.ravel())))).tolist()
        lengths = np.diff([0, *steps, mask.size]).tolist()
        assert packed(lengths) == mask_api.encode(np.asfortranarray(mask))["counts"].decode()


def test_polygons(tmp_path):
    file = document(tmp_path, [{"segmentation": PARTS["two"]}, {}, {"iscrowd": 1, "segmentation": {"bad": 1}}])
    (lines,) = find_layout("coco").read_lines([file], LabelReading(keys=("a.png",), names=("x",)), LabelForm.POLYGONS)
    labels = polygon_labels.read_labels(lines, LabelFacts(1))
    assert [len(polygon) for polygon in labels.polygons] == [9, 4]
    np.testing.assert_allclose(labels.boxes[1] * [60, 40, 60, 40], [5, 5, 25, 25], atol=1e-5)


def test_key_points(tmp_path):
    names = {"keypoints": ["head", "tail"]}
    points = [10, 10, 2, 20, 20, 1]
    file = document(tmp_path, [{"keypoints": points}, {"keypoints": [0] * 6}, {"num_keypoints": 0}], **names)
    data = layout_of(file).read_data(file, lambda: None)
    assert data.facts == LabelFacts(1, (2, 3))
    reading = LabelReading(kpt_shape=(2, 3), keys=("a.png",), names=("x",))
    (lines,) = find_layout("coco").read_lines([file], reading, LabelForm.KEY_POINTS)
    labels = key_point_labels.read_labels(lines, reading.facts)
    np.testing.assert_allclose(labels.key_points * [60, 40, 1], [[[10, 10, 2], [20, 20, 1]]], atol=1e-5)
    with pytest.raises(RecipeError, match=r"annotations\[0\].keypoints: found 3 values, expected 6"):
        read_document(document(tmp_path, [{"keypoints": [1, 2, 2]}], **names))


def test_ids_of_categories_reach_the_steps_that_write_specs(data):
    ours = found(data)
    assert ours.reading.categories == (1, 2, 3)
    plan = resolve(compose("quickstart", f"data.path={data}"), ours)
    assert plan["onnx_export"].params["categories"] == [1, 2, 3]
    plain = resolve(compose("quickstart"), find_materials(compose("quickstart")))
    assert "categories" not in plain["onnx_export"].params


@pytest.mark.parametrize(
    ("ids", "expected"),
    [((0, 1, 2), ()), ((1, 2, 90), (1, 2, 90)), (("a", "b", "c"), ()), ((7, 5, 6), (7, 5, 6))],
)
def test_ids_are_kept_where_they_are_no_class_numbers(data, ids, expected):
    def renumber(document):
        for entry in document["categories"]:
            entry["id"] = ids[entry["id"] - 1]
        for entry in document["annotations"]:
            entry["category_id"] = ids[entry["category_id"] - 1]

    changed(data, renumber)
    ours = found(data)
    assert ours.names == NAMES  # those of the model
    assert ours.reading.categories == expected


def test_a_class_without_a_category_has_no_id(data):
    def drop(document):
        document["categories"] = document["categories"][1:]
        document["annotations"] = [one for one in document["annotations"] if one["category_id"] > 1]

    changed(data, drop)
    (data.parent / "data.yaml").write_text(
        f"path: .\ntrain: {data.with_name('instances_train.json')}\ntest: {data}\nnames: [bolt, nut, washer]\n"
    )
    assert found(data.parent / "data.yaml").reading.categories == (None, 2, 3)
