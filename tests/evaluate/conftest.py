"""Fixtures of the evaluation's tests."""

from __future__ import annotations

import os
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def ultralytics(tmp_path_factory) -> ModuleType:
    """Ultralytics, to compare with; the test is skipped where it is not installed.

    It is told beforehand to install, fetch and unpickle nothing, and to keep its settings in a temporary folder.
    """
    quiet = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "ULTRALYTICS_SAFE_LOAD": "1", "YOLO_VERBOSE": "false"}
    for name, value in {**quiet, "YOLO_CONFIG_DIR": str(tmp_path_factory.mktemp("ultralytics"))}.items():
        os.environ.setdefault(name, value)
    return pytest.importorskip("ultralytics")
