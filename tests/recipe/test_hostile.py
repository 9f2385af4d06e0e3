"""Hostile recipes, through `plan` and through `build`: one line with file, line and key, exit code 2, soon."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgecompile import cli
from edgecompile.compose.command_line import Options
from edgecompile.recipe.materials import find_materials
from edgecompile.recipe.schema import Recipe

from .hostile import RECIPE, Hostile, every

ALL = list(every())
BOUND_S = 20.0
"""Seconds that an attack may take of a busy machine; most take a tenth of one."""


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for the build and the plan; returns what would have been built."""
    built: list[str] = []

    def build(recipe: Recipe, run_dir: Path, options: Options) -> None:
        find_materials(recipe)
        built.append(recipe.name)

    monkeypatch.setattr(cli, "build", build)
    monkeypatch.setattr(cli, "plan", build)
    monkeypatch.setattr(cli, "tell_sweep", lambda folder: None)
    return built


def written(here: Path, one: Hostile) -> set[Path]:
    """Writes the files of an attack; returns all that lies there then."""
    for name, text in one.files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text, encoding="utf-8")
    return set(here.parent.rglob("*"))


def test_there_are_enough_of_them():
    assert len({one.name for one in ALL}) == len(ALL) >= 60


@pytest.mark.parametrize("one", ALL, ids=[one.name for one in ALL])
def test_it_ends_in_one_line_and_does_nothing(run, here: Path, nothing_is_built: list[str], one: Hostile):
    before, environment = written(here, one), dict(os.environ)
    told = []
    for verb in ("plan", "build"):
        began = time.monotonic()
        ran = run(verb, RECIPE, *one.line)
        assert time.monotonic() - began < BOUND_S
        assert (ran.code, ran.out) == (2, ""), ran
        assert "Traceback" not in ran.err
        assert ran.lines[0].startswith(f"edgecompile: {one.where}"), ran.err
        assert one.says in ran.lines[0], ran.err
        told.append(ran.lines)
    assert told[0] == told[1]  # plan and build agree
    assert nothing_is_built == []
    assert set(here.parent.rglob("*")) - before == set()
    assert set(os.environ) - set(environment) <= {"PYDANTIC_DISABLE_PLUGINS"}
    assert {name: os.environ[name] for name in environment} == environment
