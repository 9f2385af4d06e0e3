"""Checkpoints that a stranger made, through `plan` and `build`: one line, a code of the table, nothing run or read."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from needed import needs

from . import hostile_checkpoints
from .attack import Hostile, attack
from .hostile_checkpoints import FILE, HOSTILE, PAYLOADS, changed, pickled

needs("ultralytics")
pytestmark = pytest.mark.slow

IMGSZ = "[64, 96]"
"""Stated, as `plan` would not know it of most of them, and leave them there."""


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused(name: str, place: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one = HOSTILE[name]
    one = replace(one, imgsz=IMGSZ) if one.imgsz == "null" else one
    planned, built = attack(one, FILE, place, data, capfd, "onnx_export")
    print(f"@@ {name!r} {planned} {built}")
    assert built.code == (one.code or (2 if one.at_plan else 5))
    assert one.says in built.lines[0]
    assert (planned.code, planned.lines) == (2, built.lines) if one.at_plan else planned.code == 0
    assert not (place / "work/ran").exists()


def test_control_the_sample_is_built(place: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    planned, built = attack(Hostile(changed(), "", imgsz=IMGSZ), FILE, place, data, capfd, "onnx_export")
    assert (planned.code, built.code) == (0, 0), (planned, built)
    assert list(place.rglob("*.bundle.zip"))


def test_control_the_payloads_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for called in ("posix.system", "builtins.exec", "pickle.loads"):
        pickle.loads(pickled(PAYLOADS[called]))
        (tmp_path / "ran").unlink()


def test_there_are_enough_of_them() -> None:
    assert len(hostile_checkpoints.HOSTILE) >= 30
