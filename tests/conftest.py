"""What holds for every test: nothing is kept in the user's own folders; what costs minutes is made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["EDGECOMPILE_DEVICE_CACHE"] = "off"


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that all processes of this test run share; its `cache` is their store, so that recipes of the embedded
    model are exported, calibrated and evaluated once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder
