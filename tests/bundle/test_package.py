"""The packaging step: what is in a bundle, and that the runtime reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from built import Built, build

from edgecompile.bundle.lock import lock_from, read_lock
from edgecompile.bundle.package import package
from edgecompile.errors import StepError
from edgecompile.runtime.archive import Archive


@pytest.fixture
def built(tmp_path: Path) -> Built:
    return build(tmp_path / "made")


def pack(built: Built, out: Path, **changes) -> tuple[dict, Path]:
    """Returns the facts of the step, and the bundle."""
    out.mkdir()
    documents = {"manifest": built.manifest, "lock": built.lock, "report": built.report()}
    facts = package(out, **{**built.inputs(), **documents, **changes})
    return facts, out / facts["bundle"]


def test_members_are_those_of_the_format(built: Built, tmp_path: Path):
    facts, bundle = pack(built, tmp_path / "out")
    assert [path.name for path in bundle.parent.iterdir()] == ["blood-cells.bundle.zip"]
    with Archive(bundle) as archive:
        archive.check_members()
        assert archive.digest == facts["sha256"]
        assert list(archive.names) == [
            "artifact/model.bin",
            "artifact/model.xml",
            "golden/input.png",
            "golden/output_0.npy",
            "golden/result.json",
            "manifest.json",
            "recipe.lock.yaml",
            "report.html",
            "report.json",
            "sbom.cdx.json",
            "spec.json",
        ]
        assert {key: archive.manifest[key] for key in built.manifest} == json.loads(json.dumps(built.manifest))
        assert read_lock(archive.read("recipe.lock.yaml")) == lock_from(built.lock)
        assert archive.read_json("report.json") == json.loads(json.dumps(built.report()))
        assert archive.read("artifact/model.bin") == built.inputs()["artifact"].joinpath("model.bin").read_bytes()


def test_an_artifact_may_be_one_file(built: Built, tmp_path: Path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"onnx")
    _, bundle = pack(built, tmp_path / "out", artifact=file)
    with Archive(bundle) as archive:
        assert archive.folder("artifact/") == {"model.onnx": b"onnx"}


def test_an_artifact_that_is_a_whole_output_leaves_facts_and_spec_out(built: Built, tmp_path: Path):
    artifact = built.inputs()["artifact"]
    (artifact / "facts.json").write_text("{}")
    (artifact / "spec.json").write_text("{}")
    _, bundle = pack(built, tmp_path / "out")
    with Archive(bundle) as archive:
        assert set(archive.folder("artifact/")) == {"model.bin", "model.xml"}


@pytest.mark.parametrize("name", ["artifact", "golden"])
def test_missing_files_are_named(built: Built, tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    if name == "golden":
        for kept in ("input.png", "result.json"):
            (tmp_path / "empty" / kept).write_bytes((built.inputs()["golden"] / kept).read_bytes())
    with pytest.raises(StepError, match=r"no artifact|lack 'golden/output_0\.npy'"):
        pack(built, tmp_path / "out", **{name: tmp_path / "empty"})


def test_page_in_the_bundle_says_nothing_that_was_measured(built: Built, tmp_path: Path):
    _, bundle = pack(built, tmp_path / "out")
    with Archive(bundle) as archive:
        page = archive.read("report.html").decode()
    assert "0.4821" in page
    for measured in ("4.31", "261.4", "Xeon(R)", "2.7 s", "buildbox"):
        assert measured not in page
