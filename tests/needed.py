"""What a file of tests needs beside what every environment has, looked for without importing it."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec

import pytest


def needs(*packages: str) -> None:
    """Skips the file of tests where a package is not installed. To import torch takes seconds in each process of
    pytest, and most tests leave that to the processes that they start."""
    for package in packages:
        with suppress(ModuleNotFoundError):  # of the package that it is in
            if find_spec(package):
                continue
        pytest.skip(f"{package} is not installed", allow_module_level=True)
