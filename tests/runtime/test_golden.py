from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecompile.errors import BundleError
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.golden import check_golden, compare_part
from edgecompile.runtime.predictor import open_bundle

from .tiny import ANCHORS, bundled, tiny_manifest


def checked(members: dict[str, bytes], folder: Path, manifest: dict[str, Any] | None = None) -> dict[str, bool]:
    """Returns name of check to whether it is met, for a bundle of the members."""
    path = folder / "x.bundle.zip"
    path.write_bytes(bundled(members, manifest or tiny_manifest()))
    with Archive(path) as archive:
        checks = check_golden(archive, open_bundle(archive, threads=1))
    assert all(check.detail for check in checks)
    return {check.name: check.met for check in checks}


def array(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def output_of(members: dict[str, bytes]) -> np.ndarray:
    return np.load(io.BytesIO(members["golden/output_0.npy"]))


def test_a_bundle_meets_its_own_golden_vectors(tiny_members: dict[str, bytes], tmp_path: Path) -> None:
    assert checked(tiny_members, tmp_path) == {"boxes": True, "scores": True, "detections": True}


@pytest.mark.parametrize(("rows", "failing"), [(slice(0, 4), "boxes"), (slice(4, 7), "scores")])
def test_a_model_that_runs_otherwise_is_found(
    rows: slice, failing: str, tiny_members: dict[str, bytes], tmp_path: Path
) -> None:
    other = output_of(tiny_members)
    other[:, rows] *= 1.01
    found = checked({**tiny_members, "golden/output_0.npy": array(other)}, tmp_path)
    assert not found[failing]
    assert found["boxes"] + found["scores"] == 1


def test_dead_scores_do_not_hide_behind_boxes(tiny_members: dict[str, bytes], tmp_path: Path) -> None:
    other = output_of(tiny_members)
    other[:, 4:] = 0
    assert not checked({**tiny_members, "golden/output_0.npy": array(other)}, tmp_path)["scores"]


def test_another_postprocessing_is_found(tiny_members: dict[str, bytes], tmp_path: Path) -> None:
    document = json.loads(tiny_members["golden/result.json"])
    for change in (
        {**document, "boxes": [[x + 0.5 for x in box] for box in document["boxes"]]},
        {**document, "scores": [score * 0.99 for score in document["scores"]]},
        {**document, "classes": [(number + 1) % 3 for number in document["classes"]]},
        {key: values[:-1] for key, values in document.items()},
    ):
        members = {**tiny_members, "golden/result.json": json.dumps(change).encode()}
        assert checked(members, tmp_path) == {"boxes": True, "scores": True, "detections": False}


def test_a_bundle_of_before_there_were_tasks_is_checked_alike(tiny_members: dict[str, bytes], tmp_path: Path) -> None:
    """Its manifest calls the result detections."""
    members, manifest = dict(tiny_members), tiny_manifest()
    members["golden/detections.json"] = members.pop("golden/result.json")
    manifest["golden"]["detections"] = "golden/detections.json"
    del manifest["golden"]["result"]
    assert checked(members, tmp_path, manifest) == {"boxes": True, "scores": True, "detections": True}
    members["golden/detections.json"] = b'{"boxes": [], "scores": [], "classes": []}'
    assert checked(members, tmp_path, manifest) == {"boxes": True, "scores": True, "detections": False}


def test_another_shape_and_another_count_are_found(tiny_members: dict[str, bytes], tmp_path: Path) -> None:
    longer = array(np.zeros((1, 7, ANCHORS + 1), np.float32))
    path = tmp_path / "x.bundle.zip"
    manifest = tiny_manifest()
    manifest["golden"]["outputs"] *= 2
    path.write_bytes(bundled(tiny_members, manifest))
    with Archive(path) as archive:
        (check,) = check_golden(archive, open_bundle(archive))
    assert (check.name, check.met) == ("outputs", False)
    assert checked({**tiny_members, "golden/output_0.npy": longer}, tmp_path)["output 0"] is False


def test_malformed_golden_vectors_are_invalid(tiny_members: dict[str, bytes], tmp_path: Path) -> None:
    claims = b"\x93NUMPY\x01\x00" + b"v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,)}"
    for name, content in (
        ("golden/output_0.npy", b"no array"),
        ("golden/output_0.npy", claims.ljust(128) + b"\n"),
        ("golden/output_0.npy", b"\x80\x04N."),  # a pickle
        ("golden/result.json", b"[]"),
        ("golden/result.json", b'{"boxes": [[1, 2]], "scores": [], "classes": []}'),
    ):
        with pytest.raises(BundleError):
            checked({**tiny_members, name: content}, tmp_path)
    for golden in ({}, None, {**tiny_manifest()["golden"], "outputs": ["nothing"]}):
        with pytest.raises(BundleError, match="golden vectors"):
            checked(tiny_members, tmp_path, {**tiny_manifest(), "golden": golden})


def test_the_limits_are_those_of_the_tolerance() -> None:
    wanted = np.array([1.0, 2.0, 4.0])
    assert compare_part("x", wanted + 0.04, wanted, 0.011, 0.9).met
    assert not compare_part("x", wanted + 0.04, wanted, 0.009, 0.9).met
    assert not compare_part("x", wanted[::-1], wanted, 10, 0.9).met
    assert compare_part("x", np.zeros(3), np.zeros(3), 0, 1).met
