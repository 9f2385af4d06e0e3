"""ONNX files that a stranger made, through `plan` and `build`: one line, a code of the table, nothing run or read."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import hostile_onnx
from .attack import Hostile, attack
from .hostile_onnx import FILE, HOSTILE, TAKEN

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused(name: str, place: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one = HOSTILE[name]
    planned, built = attack(one, FILE, place, data, capfd, "onnx_import")
    assert built.code == (one.code or (2 if one.at_plan else 5))
    assert one.says in built.lines[0]
    assert (planned.code, planned.lines) == (2, built.lines) if one.at_plan else planned.code == 0
    assert not (place / "work/ran").exists()


@pytest.mark.parametrize("name", TAKEN)
def test_control_what_is_odd_and_does_no_harm_is_built(
    name: str, place: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one = Hostile(TAKEN[name], "")
    planned, built = attack(one, FILE, place, data, capfd, "onnx_import")
    assert (planned.code, built.code) == (0, 0), (planned, built)
    assert list(place.rglob("*.bundle.zip"))


def test_there_are_enough_of_them() -> None:
    assert len(hostile_onnx.HOSTILE) >= 40
