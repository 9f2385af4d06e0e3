"""Class names of data and model: told apart, and compared."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from exported import SAMPLE
from rough_measurement import ROUGH

from edgecompile.cli import main
from edgecompile.evaluate.class_names import class_name_mismatch, unique_names

CLASSES = ("bolt", "hex nut", "washer")


def test_classes_of_one_name_are_told_apart():
    assert unique_names(("bolt", "nut", "bolt")) == ["bolt (0)", "nut", "bolt (2)"]


def test_equal_classes_are_not_remarked_upon():
    assert class_name_mismatch(CLASSES, CLASSES) == class_name_mismatch(("Bolt", "HexNut", "washer "), CLASSES) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (("washer", "hex nut", "bolt"), "class 0 is 'washer' in the data set and 'bolt' in the model (and 1 more): "),
        (("bolt", "hex nut", "ring"), "class 2 is 'ring' in the data set and 'washer' in the model: they meet "),
        (("bolt", "washer"), "the data set names 2 classes, the model 3: "),
    ],
)
def test_other_classes_are(data, said):
    (remark,) = class_name_mismatch(data, CLASSES)
    assert remark.startswith(said)


@pytest.mark.slow
def test_a_build_remarks_on_a_data_set_that_numbers_the_classes_otherwise(shared, tmp_path, monkeypatch, capfd):
    """Accuracy stays what it is, for it goes by number: only the remark tells."""
    shutil.copytree(SAMPLE, tmp_path / "data")
    described = yaml.safe_load((tmp_path / "data/data.yaml").read_text())
    names = described["names"] if isinstance(described["names"], list) else list(described["names"].values())
    (tmp_path / "data/data.yaml").write_text(yaml.safe_dump({**described, "path": ".", "names": names[::-1]}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(shared / "cache"))
    words = ["model=sample", f"data.path={tmp_path}/data/data.yaml", "data.validation.split=test", *ROUGH, "--quiet"]
    assert main(["build", "recipe=x86-cpu_onnxruntime_fp32", *words, "gates.latency_p95_ms=null"]) == 0
    report = json.loads(next(tmp_path.glob("outputs/*/*/report.json")).read_text())
    remark = f"class 0 is '{names[-1]}' in the data set and '{names[0]}' in the model"
    assert any(note.startswith(remark) for note in report["notes"])
    assert "note: class 0 is" in capfd.readouterr().err.replace("\n", " ")
