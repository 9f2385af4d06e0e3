"""The documents of a bundle, from what a build found."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from built import SIZE, Built, build

from edgecompile.bundle.assemble import bundle_name, packaging_step, with_packaging
from edgecompile.bundle.diff import differences
from edgecompile.bundle.lock import lock_from
from edgecompile.data.counts import counts_from
from edgecompile.errors import PlanError
from edgecompile.execute.source_digests import Sources
from edgecompile.execute.step_key import ingredients, key_of


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_lock_names_what_was_read_by_content(built: Built):
    assert built.lock["weights"] == {"name": "yolo11n_bccd.pt", "sha256": sha("weights")}
    data = built.lock["data"]
    assert data["calibration"][1] == {"name": "train_1.jpg", "sha256": sha("train 1")}
    assert data["validation"][1] == {
        "name": "val_1.jpg",
        "sha256": sha("val 1"),
        "label": {"name": "val_1.txt", "sha256": sha("val 1")},
    }
    assert data["validation"][2]["label"] is None  # a picture without a label file shows no object


def test_lock_manifest_and_report_count_the_pictures(built: Built):
    counts = built.plan.counts.as_json()
    assert built.manifest["data"] == built.lock["data"]["counts"] == built.report()["data"] == counts
    locked = lock_from(built.lock)
    assert counts_from(locked.data.counts.model_dump(mode="json")) == built.plan.counts
    other = lock_from({**built.lock, "data": {**built.lock["data"], "counts": changed(counts)}})
    assert [str(one) for one in differences(locked, other)] == ["validation.found: 7 → 8"]
    without = lock_from({**built.lock, "data": {**built.lock["data"], "counts": None, "notes": None}})
    assert differences(locked, without) == []  # an older lock does not state them


def test_a_key_that_an_older_lock_lacks_is_no_difference_at_its_default(built: Built):
    older = json.loads(json.dumps(built.lock))
    assert older["recipe"]["evaluate"].pop("iou") == 0.7
    now = lock_from(built.lock)
    assert differences(lock_from(older), now) == differences(now, lock_from(older)) == []
    changed = {**built.lock["recipe"], "evaluate": {**built.lock["recipe"]["evaluate"], "iou": 0.6}}
    found = differences(lock_from(older), lock_from({**built.lock, "recipe": changed}))
    assert [str(one) for one in found] == ["evaluate.iou: absent → 0.6"]
    older["recipe"]["data"].pop("path")  # the control: a key without a default
    assert [one.what for one in differences(lock_from(older), now)] == ["data.path"]


def changed(counts: dict[str, Any]) -> dict[str, Any]:
    return {**counts, "validation": {**counts["validation"], "found": counts["validation"]["found"] + 1}}


def test_lock_and_manifest_hold_no_path_time_or_host(built: Built, tmp_path: Path):
    root = built.inputs()["golden"].parent.parent
    text = json.dumps([built.manifest, built.lock, built.report()])
    for secret in (str(root), str(tmp_path.parent), "/home/", "buildbox", "2026-11-23", "wall", "Xeon(R)"):
        assert secret not in text, secret


def test_files_of_the_package_keep_their_name(tmp_path: Path):
    recipe = {"model": {"weights": "sample://parts.pt"}, "data": {"path": "sample://data.yaml"}}
    lock = build(tmp_path, **recipe).lock
    assert lock["recipe"]["model"]["weights"] == "sample://parts.pt"
    assert lock["recipe"]["data"]["path"] == "sample://data.yaml"


def test_other_folders_make_equal_documents(built: Built, tmp_path: Path):
    other = build(
        tmp_path / "else", model={"weights": "../yolo11n_bccd.pt", "imgsz": SIZE}, data={"path": "x/y/data.yaml"}
    )
    assert (other.lock, other.manifest, other.report()) == (built.lock, built.manifest, built.report())


def test_lock_writes_the_order_of_passes_out(built: Built):
    """Keys of a mapping are sorted in a lock, so their order there says nothing."""
    assert built.lock["recipe"]["order"] == ["onnx_export", "simplify", "int8_static"]
    assert list(built.lock["recipe"]["passes"]) != built.lock["recipe"]["order"]


def test_steps_that_measure_stand_in_no_bundle(built: Built):
    steps = {step["name"]: step for step in built.lock["steps"]}
    assert "measure" in {step.name for step in built.plan}
    assert "measure" not in steps
    assert "measure" not in {step["name"] for step in built.report()["steps"]}
    assert "measure" in {step["name"] for step in built.report(whole=True)["steps"]}
    assert steps["evaluate"]["key"] == built.entries["evaluate"].key
    assert steps["compile"]["files"]["ir/model.xml"]["size"] == 6
    assert steps["compile"]["inputs"] == {"model": "int8_static.quantize:ir"}
    assert "measure" not in {step["name"] for step in built.manifest["steps"]}


def test_measured_figures_stay_out_of_the_manifest(built: Built):
    gates = {gate["gate"]: gate for gate in built.manifest["gates"]}
    assert gates["latency_p95_ms"] == {
        "gate": "latency_p95_ms",
        "limit": 8.0,
        "figure": None,
        "met": None,
        "measured": True,
        "proven": None,
    }
    assert gates["map_drop"]["figure"] == built.manifest["figures"]["map_drop"] == pytest.approx(0.0042, abs=1e-4)


def test_golden_vectors_are_named(built: Built):
    golden = built.manifest["golden"]
    assert golden["outputs"] == ["golden/output_0.npy"]
    assert golden["tolerance"] == {"max_abs": 0.05, "min_cosine": 0.999}


def test_key_of_the_packaging_step_covers_the_documents(built: Built, tmp_path: Path):
    def key(**changes: object) -> str:
        documents = {"manifest": built.manifest, "lock": built.lock, "report": built.report(), **changes}
        plan = with_packaging(built.plan, packaging_step(built.plan, **documents))
        return key_of(ingredients(plan["package"], Sources(tmp_path), built.entries))

    assert key() == key()
    assert key() != key(manifest={**built.manifest, "description": "another"})
    assert key() != key(lock={**built.lock, "isa_class": "another"})
    assert key() != key(report={**built.report(), "notes": []})


def test_a_measured_report_cannot_be_packed(built: Built):
    with pytest.raises(PlanError, match="measured"):
        packaging_step(built.plan, manifest=built.manifest, lock=built.lock, report=built.report(whole=True))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("blood-cells", "blood-cells.bundle.zip"),
        ("a b/c", "a-b-c.bundle.zip"),
        ("../../x", "x.bundle.zip"),
        ("-rf", "rf.bundle.zip"),
        ("ж", "edgecompile.bundle.zip"),
    ],
)
def test_names_of_bundles_are_safe(name: str, file: str):
    assert bundle_name(name) == file
