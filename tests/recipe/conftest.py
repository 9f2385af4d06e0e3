"""A working directory and a cache of its own for each test, and ways to run a line in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from edgecompile import cli
from edgecompile.errors import RecipeError
from edgecompile.recipe.compose import compose


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(tmp_path / "cache"))
    return folder


@dataclass
class Ran:
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]):
    """Runs a command line in this process."""

    def run_line(*words: str) -> Ran:
        capfd.readouterr()
        code = cli.main(words)
        return Ran(code, *capfd.readouterr())

    return run_line


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
