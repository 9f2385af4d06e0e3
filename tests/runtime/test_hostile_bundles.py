"""Nothing hostile runs: bundles that a stranger made end in one line and exit code 7, and touch nothing outside."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest

from edgecompile import cli

from .tiny import HEIGHT, WIDTH, bundled, photo, tiny_manifest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from . import hostile

pytestmark = pytest.mark.slow

BOUND_S = 20.0
"""Seconds in which each verb ends, on a machine that is busy with other tests."""
STARTS_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")
NEEDS = {"openvino": ("openvino", "ir ", "environment of"), "ncnn": ("ncnn",)}
TOUCHED = 0x2 | 0x4 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200
"""inotify: modified, attributes, opened, moved, created, deleted."""


class Watch:
    """Programs that this process starts while `on`; a hook cannot be taken back."""

    on = False
    started: list[str] = []  # noqa: RUF012

    @classmethod
    def hear(cls, event: str, _: object) -> None:
        if cls.on and event in STARTS_PROGRAMS:
            cls.started.append(event)


sys.addaudithook(Watch.hear)


@contextmanager
def untouched(*folders: Path) -> Iterator[None]:
    """Makes sure that nothing in these folders is opened, written, made or removed, by native code neither."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = {path: path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}
    watcher = libc.inotify_init1(os.O_NONBLOCK)
    for folder in folders:
        assert libc.inotify_add_watch(watcher, os.fsencode(folder), TOUCHED) >= 0
    Watch.on, Watch.started = True, []
    try:
        yield
        Watch.on = False
        events = b""
        with suppress(BlockingIOError):
            events = os.read(watcher, 1 << 16)
        assert not _names(events)
    finally:
        Watch.on = False
        os.close(watcher)
    after = {path: path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}
    assert before == after
    assert not Watch.started


def _names(events: bytes) -> list[str]:
    found = []
    while events:
        _, mask, _, length = struct.unpack_from("iIII", events)
        name = events[16 : 16 + length].rstrip(b"\0").decode()
        if name:  # the folder itself may be looked through
            found.append(f"{name}: {mask:x}")
        events = events[16 + length :]
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> Path:
    """A home folder and a working directory with files that a hostile bundle would like to read or replace."""
    for folder in ("home", "work", "bundles"):
        (tmp_path / folder).mkdir()
    (tmp_path / "home/.bashrc").write_text("# mine\n")
    (tmp_path / "work/x.bin").write_bytes(b"1234")
    (tmp_path / "work/evil.so").write_bytes(b"\x7fELF")
    cv2.imwrite(str(tmp_path / "bundles/picture.png"), photo(HEIGHT, WIDTH))
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def ended(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Runs a verb; returns its exit code and what it complains about, which is one line, of what can be printed."""
    capfd.readouterr()
    began = time.monotonic()
    code = cli.main(list(words))
    assert time.monotonic() - began < BOUND_S
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("edgecompile: ")]
    assert len(lines) == (code != 0), lines
    assert not lines or (lines[0].isprintable() and len(lines[0]) < 2000), lines
    return code, "".join(lines)


@pytest.mark.parametrize("name", hostile.REFUSED)
def test_hostile_bundles_are_refused(
    name: str, place: Path, tiny_members: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    for package, beginnings in NEEDS.items():
        if name.startswith(beginnings) and find_spec(package) is None:  # imported, some start programs of their own
            pytest.skip(f"needs {package}")
    bundle = place / "bundles/x.bundle.zip"
    bundle.write_bytes(hostile.REFUSED[name](tiny_members))
    with untouched(place / "home", place / "work"):
        code, line = ended(capfd, "verify", str(bundle))
        assert code == 7
        assert "x.bundle.zip" in line
        assert "unexpected" not in line
        predicted, _ = ended(capfd, "predict", str(bundle), str(place / "bundles/picture.png"))
        assert predicted == 7 or (predicted == 0 and name.startswith(("golden", "output", "ir of", "file of")))
        inspected, _ = ended(capfd, "inspect", str(bundle))
        assert inspected in (0, 7)


def test_the_good_bundle_that_they_are_made_of_is_taken(
    place: Path, tiny_members: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    """The other side: the watch is no obstacle, and the change is what is refused."""
    bundle = place / "bundles/x.bundle.zip"
    bundle.write_bytes(bundled(tiny_members, tiny_manifest()))
    with untouched(place / "home", place / "work"):
        assert ended(capfd, "verify", str(bundle)) == (0, "")
        assert ended(capfd, "predict", str(bundle), str(place / "bundles/picture.png")) == (0, "")
        assert ended(capfd, "inspect", str(bundle)) == (0, "")


def test_the_watch_sees_what_native_code_opens(place: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(place / "home/written")
    from .tiny import tiny_onnx

    with pytest.raises(AssertionError), untouched(place / "home", place / "work"):
        onnxruntime.InferenceSession(tiny_onnx(), options, providers=["CPUExecutionProvider"])
    with pytest.raises(AssertionError), untouched(place / "home", place / "work"):
        cv2.imread(str(place / "work/x.bin"))


def test_there_are_enough_of_them() -> None:
    assert len(hostile.REFUSED) >= 60
