"""Each test of this folder runs in its own working directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_texts import problems, write  # noqa: F401 - fixtures


@pytest.fixture(autouse=True)
def _here(here: Path) -> None:
    """The working directory."""
