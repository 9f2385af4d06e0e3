"""What a checkpoint says of itself is read without unpickling it, however hostile it is."""

from __future__ import annotations

import os
import pickle
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
from exported import CHECKPOINT

from edgecompile.weights import checkpoint
from edgecompile.weights.checkpoint import read_checkpoint
from edgecompile.weights.guard import may_be_called, nothing_constructed


def written(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """Writes a pickle as torch does."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
    return path


def test_the_sample_says_what_it_is() -> None:
    said = read_checkpoint(CHECKPOINT)
    assert said is not None
    assert said.model_class == "ultralytics.nn.tasks.DetectionModel"
    assert (said.task, said.head, said.channels) == ("detect", "Detect", 3)
    assert {"cv2", "cv3", "dfl"} == said.head_parts
    assert said.names == ("bolt", "nut", "washer")
    assert said.train_args["imgsz"] == 256


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_values_of_all_protocols_are_read(tmp_path: Path, protocol: int) -> None:
    train_args = {"imgsz": 2**40, "text": "ü" * 300, "list": [1.5, None, True, (1, 2, 3, 4)], "nested": {"a": {}}}
    root = {"model": OrderedDict(), "train_args": train_args, 7: {1, 2}}
    found = checkpoint._Pickle(pickle.dumps(root, protocol)).follow()
    assert found["train_args"] == train_args
    assert read_checkpoint(written(tmp_path / "w.pt", pickle.dumps(root, protocol))) is None  # holds no model


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_payload_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    content = pickle.dumps({"model": Payload(mark), "train_args": {"imgsz": 320}}, 2)
    said = read_checkpoint(written(tmp_path / "w.pt", content))
    assert said is not None
    assert said.model_class.endswith("system")
    assert said.train_args == {"imgsz": 320}
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists(), "the payload is real"


def nested_key() -> bytes:
    """A dictionary key that is a tuple of tuples, shared, 200 levels deep: its hash takes 2^200 operations."""
    return b"\x80\x02}" + b")" + b"q\x00h\x00\x86" * 200 + b"K\x01s."


HOSTILE = {
    "a key whose hash takes for ever": nested_key(),
    "cut": b"\x80\x02}X\xff\xff\xff\xff",
    "nothing on the stack": b"\x80\x02u.",
    "an unknown instruction": b"\x80\x02\xff.",
    "text instructions": pickle.dumps({"model": 1}, 0),
    "no end": b"\x80\x02" + b"(" * 100_000,
    "deep": b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "a global without a name": b"\x80\x02cos",
    "many marks": b"\x80\x02" + b"(K\x01" * 1_000_000 + b"t.",
    "an integer of a megabyte": b"\x80\x02\x8b\x00\x00\x10\x00" + b"\xff" * (1 << 20) + b".",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_left_alone_in_no_time(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "w.pt", HOSTILE[name])
    began = time.process_time()
    assert read_checkpoint(path) is None
    assert time.process_time() - began < 5


@pytest.mark.slow
def test_hostile_archives_are_left_alone_in_no_time(tmp_path: Path) -> None:
    bomb = written(tmp_path / "bomb.pt", b"\0" * (checkpoint.LARGEST + 1), zipfile.ZIP_DEFLATED)
    many = tmp_path / "many.pt"
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(40_000):
            archive.writestr(zipfile.ZipInfo(f"archive/{number:0200}"), b"")
        archive.writestr("archive/data.pkl", pickle.dumps({"model": 1}, 2))
    liar = written(tmp_path / "liar.pt", pickle.dumps({"model": 1}, 2))
    liar.write_bytes(liar.read_bytes()[:-22] + b"PK\x05\x06" + b"\xff" * 18)
    twice = written(tmp_path / "twice.pt", b"")
    with zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("other/data.pkl", b"")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "legacy.pt").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2))
    began = time.process_time()
    for path in (bomb, many, liar, twice, tmp_path / "empty.pt", tmp_path / "legacy.pt", tmp_path):
        assert read_checkpoint(path) is None, path
    assert time.process_time() - began < 2


def test_what_is_called_is_noted(tmp_path: Path) -> None:
    """What makes an object without its constructor is no call; what a call returned is not called without a word."""
    said = read_checkpoint(CHECKPOINT)
    assert said is not None
    assert {one for one in said.calls if not may_be_called(one)} == set()
    assert "torch._utils._rebuild_tensor_v2" in said.calls
    getattr_of = b"cbuiltins\ngetattr\ncx\nY\nX\x01\x00\x00\x00z\x86R"
    model = b"\x80\x02}(X\x05\x00\x00\x00modelcx\nY\n)\x81X\x01\x00\x00\x00f" + getattr_of + b")Ru."
    said = read_checkpoint(written(tmp_path / "w.pt", model))
    assert said is not None
    assert said.calls == {"builtins.getattr", "what another call returns"}
    assert not may_be_called("what another call returns")
    assert not may_be_called("ultralytics.nn.tasks.DetectionModel")


class Base:
    def __init__(self, value: int = 0) -> None:
        self.value = value


class Derived(Base):
    def __init__(self) -> None:
        self.early = True
        super().__init__(1)


def test_nothing_is_constructed_while_a_checkpoint_is_loaded() -> None:
    with nothing_constructed(Base, lambda made: ValueError(made.__name__)):
        for kind in (Base, Derived):
            with pytest.raises(ValueError, match=kind.__name__):
                kind()
        assert not hasattr(Derived.__new__(Derived), "early")
    assert (Base().value, Derived().value, Derived().early) == (0, 1, True)
