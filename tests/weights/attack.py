"""Runs a hostile file of weights through `plan` and `build`, and watches what must not happen."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rough_measurement import SECTION

from edgecompile import cli

SECRET = b"a secret of this machine, 4711 0815"
"""Content of the file that hostile files would like to read."""
PLAN_S = 10.0
"""Seconds in which `plan` ends, on a machine that is busy with other tests."""
BUILD_S = 60.0
"""The same for a build whose steps may take `STEP_S`."""
STEP_S = 30
STEP_MEMORY = "4G"
OPENED, WRITTEN = 0x20, 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200
"""inotify: opened; modified, attributes, moved, created, deleted."""
TABLE = (2, 3, 4, 5, 6, 7)
"""Exit codes of errors that are told."""


@dataclass(frozen=True)
class Hostile:
    """A hostile file of weights.

    Attributes:
        make: writes it (and what belongs to it) into a folder that also holds `secret/secret.txt`.
        says: what the line must hold.
        at_plan: whether `plan` refuses it too; where not, only running the step tells.
        code: of the build.
        imgsz: that the recipe names.
        step_s: seconds that a step may take.
    """

    make: Callable[[Path], object]
    says: str
    at_plan: bool = False
    code: int = 0
    imgsz: str = "null"
    step_s: int = STEP_S


def write_data(folder: Path) -> Path:
    """Writes a data set of eight tiny pictures for each split; returns its yaml."""
    for seed, split in ((100, "train"), (0, "val")):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(8):
            picture = np.random.default_rng(seed + number).integers(0, 255, (64, 96, 3), np.uint8)
            cv2.imwrite(str(folder / f"images/{split}/{number}.png"), picture)
            (folder / f"labels/{split}/{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    text = "path: .\ntrain: images/train\nval: images/val\nnames: [first, second]\n"
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


def recipe_text(weights: str, data: Path, *passes: str, imgsz: str = "null") -> str:
    """Returns a recipe without a demand on accuracy: models of tests find nothing."""
    floor = "passes: {onnx_import: {floor: 0}}\n" if "onnx_import" in passes else ""
    return f"""\
defaults:
  - /pass@passes: [{", ".join(passes)}]
  - override /target: x86-cpu_onnxruntime
  - _self_
model: {{weights: {weights}, imgsz: {imgsz}}}
data: {{path: {data}, calibration: null}}
evaluate: {{latency_images: 10}}
{SECTION}{floor}"""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Ends a test that hangs."""

    def ring(*_: object) -> None:
        raise AssertionError(f"not ended after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def unopened(folder: Path) -> Iterator[None]:
    """Makes sure that no process opens or changes a file in a folder, by native code neither."""
    libc = ctypes.CDLL(None, use_errno=True)
    watcher = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watcher, os.fsencode(folder), OPENED | WRITTEN) >= 0
    try:
        yield
        events = b""
        with suppress(BlockingIOError):
            events = os.read(watcher, 1 << 16)
        names = []
        while events:
            *_, length = struct.unpack_from("iIII", events)
            names.append(events[16 : 16 + length].rstrip(b"\0"))
            events = events[16 + length :]
        assert not [name for name in names if name]
    finally:
        os.close(watcher)


def everything(folder: Path, *left_out: Path) -> dict[Path, bytes | str]:
    """Returns what lies below a folder, with its content, less what lies below some."""
    found: dict[Path, bytes | str] = {}
    for top, folders, files in os.walk(folder):
        here = Path(top)
        folders[:] = [name for name in folders if here / name not in left_out]
        for path in (here / name for name in (*folders, *files)):
            if path.is_symlink():
                found[path] = os.readlink(path)
            elif path.is_file():
                size, changed = path.stat().st_size, path.stat().st_mtime_ns
                found[path] = path.read_bytes() if size < 1 << 24 else f"{size} {changed}"
            else:
                found[path] = oct(path.lstat().st_mode)
    return found


def holds(folder: Path, content: bytes) -> list[Path]:
    """Returns the files below a folder whose name or content holds some bytes."""
    return [
        path
        for path in folder.rglob("*")
        if content in os.fsencode(path) or (path.is_file() and content in path.read_bytes())
    ]


@dataclass
class Ended:
    """How a verb ended."""

    code: int
    lines: list[str]
    seconds: float


def ended(capfd, seconds: float, *words: str) -> Ended:
    """Runs a verb, and demands that it ends in time, and that what it complains of is one line of text."""
    capfd.readouterr()
    began = time.monotonic()
    with alarm(seconds):
        code = cli.main(list(words))
    out, err = capfd.readouterr()
    assert SECRET.decode() not in out + err
    lines = [line for line in err.splitlines() if line.startswith("edgecompile: ")]
    if code:
        assert code in TABLE, err
        assert err.splitlines() == lines, err
        assert out == "" or words[0] == "plan", out
    for line in lines:
        assert line.isprintable(), ascii(line)
        assert len(line) < 1500, line
        assert "unexpected" not in line, line
        assert "Traceback" not in line, line
    return Ended(code, lines, time.monotonic() - began)


def attack(one: Hostile, name: str, place: Path, data: Path, capfd, *passes: str) -> tuple[Ended, Ended]:
    """Plans and builds a recipe of a hostile file; returns how both ended.

    Args:
        name: of the file of weights.
        place: a folder with `home`, `secret`, `work` (the working directory), `cache`, `machine`, `tmp`.
        passes: of the recipe.
    """
    work = place / "work"
    with suppress(FileExistsError):
        one.make(work)
    (work / "r.yaml").write_text(recipe_text(name, data, *passes, imgsz=one.imgsz))
    left_out = (work / "outputs", place / "cache", place / "machine")
    before = everything(place, *left_out)
    limits = ("--step-timeout", str(one.step_s), "--step-memory", STEP_MEMORY)
    with unopened(place / "secret"), unopened(place / "home"):
        planned = ended(capfd, PLAN_S, "plan", "r.yaml")
        built = ended(capfd, BUILD_S, "build", "r.yaml", "--quiet", *limits)
    assert everything(place, *left_out) == before
    for folder in (place / "cache", work / "outputs"):
        assert not holds(folder, SECRET)
        assert not holds(folder, b"root:x:0:0")
    assert not list(work.rglob("*.bundle.zip")) or built.code == 0
    return planned, built
