"""Each test has a working directory and a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _here(here: Path) -> None:
    """Each test runs in its own working directory."""
