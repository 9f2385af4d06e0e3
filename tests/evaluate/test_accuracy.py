"""The accuracy step says what Ultralytics' own validation says, and notices what is broken."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from coco_text import as_coco, write_coco
from exported import CHECKPOINT, SAMPLE

from edgecompile.data.box_labels import BoxLabels
from edgecompile.data.label_search import find_label_files
from edgecompile.data.split_listing import Folders
from edgecompile.data.yolo_dataset import list_split, read_data
from edgecompile.errors import RecipeError, StepError
from edgecompile.evaluate.accuracy import RAW_PICTURES, evaluate
from edgecompile.evaluate.tasks import find_task
from edgecompile.evaluate.tasks._average_precision_task import KEPT_RESULTS

from .conftest import SIZE, export, split, ultralytics_val

SETTINGS = {"conf": 0.001, "iou": 0.7, "max_det": 300}
HOW = {"backend": "onnxruntime", "options": {}, "threads": 1, "settings": SETTINGS}

BLOOD_CELLS = Path(os.environ.get("EDGECOMPILE_BCCD", "no such folder"))
"""A folder of data.yaml, images/test, labels/test and one checkpoint for 320 pixels, for a test on photographs."""


def evaluated(out: Path, model: SimpleNamespace, data: SimpleNamespace, **changes) -> dict:
    out.mkdir()
    paths = {"artifact": model.model, "spec": model.spec, "pictures": data.pictures, "labels": data.labels}
    return evaluate(out, **{**paths, **HOW, **changes})


@pytest.fixture(scope="module")
def whole(float_model, held_out, tmp_path_factory) -> tuple[Path, dict]:
    """Folder and facts of an evaluation of the sample's test split."""
    out = tmp_path_factory.mktemp("evaluate") / "out"
    return out, evaluated(out, float_model, held_out)


@pytest.mark.slow
def test_equals_ultralytics_on_the_sample(whole, tmp_path):
    data = shutil.copytree(SAMPLE, tmp_path / "sample") / "data.yaml"  # Ultralytics writes a cache beside the labels
    theirs, ours = ultralytics_val(CHECKPOINT, data, SIZE, "test"), whole[1]
    assert theirs["map50_95"] > 0.6
    assert ours["metrics"]["map50_95"] == pytest.approx(theirs["map50_95"], abs=0.001)
    assert ours["metrics"]["map50"] == pytest.approx(theirs["map50"], abs=0.001)
    found = [one["map50_95"] for one in ours["per_class"].values()]
    assert found == pytest.approx(theirs["per_class"], abs=0.002)


@pytest.mark.skipif(not BLOOD_CELLS.is_dir(), reason="EDGECOMPILE_BCCD names no folder")
def test_equals_ultralytics_on_photographs(tmp_path):
    (checkpoint,) = BLOOD_CELLS.glob("*.pt")
    data = shutil.copytree(BLOOD_CELLS, tmp_path / "data") / "data.yaml"
    theirs = ultralytics_val(checkpoint, data, 320, "test")
    (tmp_path / "export").mkdir()
    model = export(checkpoint, 320, tmp_path / "export")
    ours = evaluated(tmp_path / "out", model, split(BLOOD_CELLS, "test"))
    assert ours["metrics"]["map50_95"] == pytest.approx(theirs["map50_95"], abs=0.001)
    assert ours["metrics"]["map50"] == pytest.approx(theirs["map50"], abs=0.001)


@pytest.mark.skipif(not BLOOD_CELLS.is_dir(), reason="EDGECOMPILE_BCCD names no folder")
def test_half_of_the_photographs_as_tiff(tmp_path):
    """Left out, the other half alone would score 0.497."""
    for folder in ("images/val", "labels/val", "images/train", "export"):
        (tmp_path / folder).mkdir(parents=True)
    for number, picture in enumerate(sorted((BLOOD_CELLS / "images/test").glob("*.jpg"))[:12]):
        copy = tmp_path / "images/val" / (picture.name if number % 2 else f"{picture.stem}.tif")
        cv2.imwrite(str(copy), cv2.imread(str(picture))) if copy.suffix == ".tif" else shutil.copy(picture, copy)
        shutil.copy(BLOOD_CELLS / "labels/test" / f"{picture.stem}.txt", tmp_path / "labels/val")
    data = tmp_path / "data.yaml"
    data.write_text("path: .\ntrain: images/train\nval: images/val\nnames: [RBC, WBC, Platelets]\n")
    listing = list_split(read_data(data), "val", "", Folders())
    labels = find_label_files(listing.pictures, listing.resolved, Folders(), str(tmp_path))
    held_out = SimpleNamespace(
        pictures=[Path(one) for one in listing.pictures], labels=[Path(one.path) for one in labels.files]
    )
    (checkpoint,) = BLOOD_CELLS.glob("*.pt")
    ours = evaluated(tmp_path / "out", export(checkpoint, 320, tmp_path / "export"), held_out)
    assert ours["pictures"] == 12
    assert ours["metrics"]["map50_95"] == pytest.approx(0.449, abs=0.0005)


def test_half_of_the_pictures_as_tiff_change_no_figure(whole, float_model, held_out, tmp_path):
    pictures = [path if index % 2 else tmp_path / f"{path.stem}.tif" for index, path in enumerate(held_out.pictures)]
    for path, original in zip(pictures, held_out.pictures, strict=True):
        if path != original:
            cv2.imwrite(str(path), cv2.imread(str(original)))
    facts = evaluated(tmp_path / "out", float_model, SimpleNamespace(pictures=pictures, labels=held_out.labels))
    assert facts == whole[1]


def test_facts_and_files(whole, held_out):
    out, facts = whole
    assert facts["pictures"] == len(held_out.pictures)
    assert facts["objects"] == sum(len(path.read_text().splitlines()) for path in held_out.labels)
    assert list(facts["per_class"]) == ["bolt", "nut", "washer"]
    assert facts["size_bytes"] > 1_000_000
    assert len(list((out / "raw").iterdir())) == RAW_PICTURES
    assert np.load(out / "raw" / "0_0.npy").shape == (1, 7, 1344)

    results = json.loads((out / "results.json").read_text())
    assert set(results[0]) == {"image_id", "file_name", "category_id", "bbox", "score"}
    counts = np.bincount([one["image_id"] for one in results])
    assert counts.max() <= KEPT_RESULTS
    assert facts["found"] >= len(results)
    assert min(one["bbox"][0] for one in results) < 0, "boxes are scored uncut, as Ultralytics does"

    sure = np.bincount([one["image_id"] for one in results if one["score"] >= 0.25], minlength=facts["pictures"])
    assert json.loads((out / "counts.json").read_text()) == sure.tolist()


def test_is_repeated_byte_for_byte(whole, float_model, held_out, tmp_path):
    few = SimpleNamespace(pictures=held_out.pictures[:4], labels=held_out.labels[:4])
    facts = [evaluated(tmp_path / name, float_model, few) for name in ("one", "two")]
    assert facts[0] == facts[1]
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


@pytest.mark.parametrize("fault", [{"color": "BGR"}, {"scale": 1.0}], ids=["colours swapped", "pixels not scaled"])
def test_a_wrong_preprocessing_shows(fault, whole, float_model, held_out, tmp_path):
    spec = json.loads(float_model.spec.read_text())
    spec["input"].update(fault)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    broken = SimpleNamespace(model=float_model.model, spec=tmp_path / "spec.json")
    found = evaluated(tmp_path / "out", broken, held_out)
    assert found["metrics"]["map50_95"] < whole[1]["metrics"]["map50_95"] - 0.01


def test_pictures_without_labels_are_backgrounds(whole, float_model, held_out, tmp_path):
    """Their detections are false alarms: the figure falls, the number of objects too, and nothing fails."""
    labels = [path if index % 2 else tmp_path / "none.txt" for index, path in enumerate(held_out.labels)]
    few = SimpleNamespace(pictures=held_out.pictures, labels=labels)
    facts = evaluated(tmp_path / "out", float_model, few, settings={**SETTINGS, "conf": 0.25})
    assert facts["pictures"] == len(held_out.pictures)
    assert 0 < facts["objects"] < whole[1]["objects"]
    assert facts["metrics"]["map50_95"] < whole[1]["metrics"]["map50_95"] - 0.1


def test_a_malformed_label_names_its_line(float_model, held_out, tmp_path):
    (tmp_path / "bad.txt").write_text("0 0.5 0.5 0.1 0.1\n1 0.5 7 0.1 0.1\n")
    data = SimpleNamespace(pictures=held_out.pictures[:1], labels=[tmp_path / "bad.txt"])
    with pytest.raises(RecipeError, match=r"bad\.txt:2: found the coordinate 7"):
        evaluated(tmp_path / "out", float_model, data)


def test_objects_of_classes_that_the_model_does_not_know_are_missed(float_model, held_out, tmp_path):
    """As in Ultralytics' validation, which counts such a class with 0."""
    for number, label in enumerate(held_out.labels[:8]):
        text = label.read_text() if label.is_file() else ""
        (tmp_path / f"{number}.txt").write_text(text + "\n4 0.5 0.5 0.1 0.1\n")
    labels = [tmp_path / f"{number}.txt" for number in range(8)]
    known = evaluated(
        tmp_path / "one", float_model, SimpleNamespace(pictures=held_out.pictures[:8], labels=held_out.labels[:8])
    )
    facts = evaluated(tmp_path / "two", float_model, SimpleNamespace(pictures=held_out.pictures[:8], labels=labels))
    assert facts["per_class"]["class 4"] == {"map50_95": 0.0, "map50": 0.0, "objects": 8}
    count = len(known["per_class"])
    expected = known["metrics"]["map50_95"] * count / (count + 1)
    assert facts["metrics"]["map50_95"] == pytest.approx(expected, abs=1e-5)


def test_a_crowded_picture_raises_the_default_limit_and_no_other():
    task, crowd = find_task("detect"), BoxLabels(np.zeros(450, np.int64), np.zeros((450, 4), np.float32))
    assert task.options(SETTINGS, [crowd]) == {**SETTINGS, "max_det": 450, "multi_label": True, "clip": False}
    assert task.options({**SETTINGS, "max_det": 100}, [crowd])["max_det"] == 100
    assert task.options(SETTINGS, [])["max_det"] == 300


@pytest.mark.parametrize(("row", "value", "message"), [(0, np.nan, "the box (nan"), (4, np.nan, "the score nan")])
def test_an_artifact_that_puts_out_what_is_no_number_fails_the_step(
    row: int, value: float, message: str, held_out: SimpleNamespace, tmp_path: Path
) -> None:
    from runtime.tiny import tiny_onnx, tiny_spec

    model = SimpleNamespace(model=tmp_path / "model.onnx", spec=tmp_path / "spec.json")
    model.model.write_bytes(tiny_onnx())
    model.spec.write_text(json.dumps(tiny_spec()), encoding="utf-8")
    few = SimpleNamespace(pictures=held_out.pictures[:2], labels=held_out.labels[:2])
    assert evaluated(tmp_path / "right", model, few)["pictures"] == 2
    model.model.write_bytes(tiny_onnx(row=row, value=value))
    with pytest.raises(StepError, match=r"model\.onnx: output 'output0' of the model holds ") as caught:
        evaluated(tmp_path / "wrong", model, few)
    assert message in str(caught.value)
    assert f"on {few.pictures[0].name}" in str(caught.value)


def test_cocos_json_gives_the_same_figures(whole, float_model, held_out, tmp_path):
    file = write_coco(tmp_path / "test.json", as_coco(held_out.pictures, held_out.labels, ("bolt", "nut", "washer")))
    data = SimpleNamespace(pictures=held_out.pictures, labels=[file])
    keys = [picture.name for picture in held_out.pictures]
    reading = {"layout": "coco", "keys": keys, "names": ["bolt", "nut", "washer"]}
    assert evaluated(tmp_path / "out", float_model, data, reading=reading) == whole[1]
    for strange, words in (({"keys": keys[1:]}, "labels of"), ({"keys": ["x"]}, "names no picture 'x'")):
        with pytest.raises((RecipeError, StepError), match=words):
            evaluated(tmp_path / words, float_model, data, reading={**reading, **strange})
    renumbered = {**reading, "names": ["nut", "bolt", "washer"]}  # the control
    other = evaluated(tmp_path / "other", float_model, data, reading=renumbered)
    assert other["metrics"]["map50_95"] < whole[1]["metrics"]["map50_95"] - 0.3
