"""Malformed recipes, all of them here, some in a process of their own: one line, with file, line and key; exit code 2.

`bench/malformed.py` measures the time and the memory of each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgecompile.compose.composition import compose
from edgecompile.errors import EdgecompileError
from edgecompile.recipe.materials import find_materials

from .malformed import Malformed, every

pytestmark = pytest.mark.slow

ALL = list(every())
ROOT = Path(__file__).parents[2]
IN_PROCESSES = ALL[::40]


def test_there_are_enough_of_them():
    assert len({one.content() for one in ALL}) == len(ALL) >= 150


@pytest.mark.parametrize("one", ALL, ids=[one.text[:60] for one in ALL])
def test_one_line_with_file_line_and_key(write, one: Malformed):
    name = write(one.content(), base=False)
    with pytest.raises(EdgecompileError) as caught:
        find_materials(compose(name))
    (problem,) = caught.value.problems
    assert caught.value.exit_code == 2
    assert str(problem).startswith(f"{name}:{one.place}"), problem
    assert "\n" not in str(problem)


@pytest.mark.parametrize("one", IN_PROCESSES, ids=[one.text[:60] for one in IN_PROCESSES])
def test_from_outside(here, one: Malformed):
    (here / "my.yaml").write_text(one.content(), encoding="utf-8")
    command = [sys.executable, "-m", "edgecompile", "build", "my.yaml"]
    finished = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith(f"edgecompile: my.yaml:{one.place}")
    assert finished.stderr.count("\n") == 1
    assert not (here / "outputs").exists()
