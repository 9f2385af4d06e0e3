"""Fixtures of the tests that compose recipes: a recipe of their own, and the problems of one that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecompile.compose.composition import compose
from edgecompile.errors import RecipeError


@pytest.fixture
def problems():
    """Composes a recipe that must be refused, and returns its problems as lines."""

    def refused(*words: str) -> list[str]:
        with pytest.raises(RecipeError) as caught:
            compose(*words)
        return [str(problem) for problem in caught.value.problems]

    return refused


BASE = """\
defaults:
  - /pass@passes: [onnx_export, simplify, int8_static]
  - override /target: x86-cpu_onnxruntime
  - override /model: sample
  - override /data: sample
"""


@pytest.fixture
def write(here: Path):
    """Writes a recipe into the working directory; `base` puts a sound defaults list before it."""

    def write_recipe(text: str, name: str = "my.yaml", base: bool = True) -> str:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text((BASE if base else "") + text, encoding="utf-8")
        return name

    return write_recipe
