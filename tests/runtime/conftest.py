"""Fixtures of the runtime's tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import pytest

from .tiny import bundled, golden_members, photo, tiny_manifest, tiny_onnx, tiny_spec


@pytest.fixture(scope="session")
def tiny_members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Members of a bundle of the tiny model for ONNX Runtime, all but the manifest."""
    pytest.importorskip("onnxruntime")
    from edgecompile.runtime import open_artifact

    artifact = tmp_path_factory.mktemp("tiny") / "model.onnx"
    artifact.write_bytes(tiny_onnx())
    detector = open_artifact(artifact, tiny_spec(), "onnxruntime", {}, 1)
    return {
        "artifact/model.onnx": artifact.read_bytes(),
        "spec.json": json.dumps(tiny_spec()).encode(),
        "recipe.lock.yaml": b"schema: 1\n",
        "report.json": b"{}\n",
        "report.html": b"<html></html>\n",
        **golden_members(detector),
    }


@pytest.fixture(scope="session")
def tiny_bundle(tiny_members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny model for ONNX Runtime."""
    path = tmp_path_factory.mktemp("bundle") / "tiny.bundle.zip"
    path.write_bytes(bundled(tiny_members, tiny_manifest()))
    return path


@pytest.fixture(scope="session")
def ultralytics(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The ultralytics package, imported so that it neither installs, downloads nor writes anywhere."""
    quiet = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "ULTRALYTICS_SAFE_LOAD": "1", "YOLO_VERBOSE": "false"}
    for name, value in {**quiet, "YOLO_CONFIG_DIR": str(tmp_path_factory.mktemp("ultralytics"))}.items():
        os.environ.setdefault(name, value)
    return pytest.importorskip("ultralytics")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of four pictures of different kinds and sizes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, (name, size) in enumerate(
        {"a.jpg": (50, 80), "b.png": (120, 90), "c.bmp": (33, 61), "d.webp": (64, 96)}.items()
    ):
        cv2.imwrite(str(folder / name), photo(*size, seed=number))
    return folder


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs run their model in this process, where a test can change what they find."""
    from edgecompile.runtime import supervisor, worker

    def run(work: Any, arguments: Any, **_: Any) -> int:
        return worker.run_in_this_process(work, arguments)

    monkeypatch.setattr(supervisor, "run_confined", run)
