"""Anchors from a file beside a model, which may come from a stranger."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgecompile.errors import StepError
from edgecompile.graphs.onnx import anchor_file
from edgecompile.graphs.onnx.anchor_file import read_anchors

ANCHORS = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], [1, 0, 1, 0]], np.float32)


def test_each_kind_of_file_gives_the_same_anchors(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ANCHORS.astype(np.float64)[None])
    (tmp_path / "a.json").write_text(json.dumps(ANCHORS.tolist()))
    (tmp_path / "a.txt").write_text("".join(", ".join(map(str, row)) + "\n" for row in ANCHORS.tolist()) + "\n")
    for path in tmp_path.iterdir():
        anchors = read_anchors(path)
        assert anchors.dtype == np.float32
        assert np.array_equal(anchors, ANCHORS)


def truncated(path: Path) -> None:
    """States a million anchors and holds three."""
    np.save(path, np.zeros((1_000_000, 4), np.float32))
    path.write_bytes(path.read_bytes()[:200])


def objects(path: Path) -> None:
    np.save(path, np.array([[{}] * 4], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("a.npy", truncated, "cannot be read as anchors"),
        ("a.npy", objects, "cannot be read as anchors"),
        ("a.npy", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), "cannot be read as anchors"),
        ("a.npy", lambda path: np.save(path, np.zeros((3, 5))), "holds an array of shape [3, 5] of float64"),
        ("a.npy", lambda path: np.save(path, np.array([[1, 2, 3, np.nan]])), "numbers that are not finite"),
        ("a.json", lambda path: path.write_text("[" * 100_000), "cannot be read as anchors"),
        ("a.json", lambda path: path.write_text('{"a": 1}'), "expected numbers in rows of four"),
        ("a.json", lambda path: path.write_text("[]"), "expected numbers in rows of four"),
        ("a.json", lambda path: path.write_text('[["1", "2", "3", "4"]]'), "expected numbers in rows of four"),
        ("a.txt", lambda path: path.write_text("1 2 3 4\n5 6 7\n"), "cannot be read as anchors"),
        ("a.txt", lambda path: path.write_text("one two three four\n"), "cannot be read as anchors"),
    ],
)
def test_what_is_no_file_of_anchors_is_refused(name, write, said, tmp_path: Path) -> None:
    write(tmp_path / name)
    with pytest.raises(StepError) as raised:
        read_anchors(tmp_path / name)
    assert said in str(raised.value)


def test_large_files_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor_file, "LARGEST", 100)
    np.save(tmp_path / "a.npy", ANCHORS)
    with pytest.raises(StepError, match="is larger than"):
        read_anchors(tmp_path / "a.npy")
