"""What is deployed is the user's alone: nobody else can change it, and what killed calls left goes."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecompile.device import connection
from edgecompile.errors import MissingToolError

from .server import edgecompile
from .test_failures import failed

PYTHON = ("--python", sys.executable)
OLD = time.time() - 2 * connection.STALE_S


@pytest.mark.parametrize(("mode", "shown"), [(0o777, "777"), (0o1777, "1777"), (0o722, "722")])
def test_a_folder_that_others_can_write_is_refused(mode, shown, device, bundle, tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    line = failed("deploy", bundle, f"{device.address}{folder}", *PYTHON, code=5, options=device.options())
    assert f"others can change what is in {folder}" in line
    assert f"mode {shown}; there: chmod go-w {folder}" in line
    assert not list(folder.iterdir())


def test_a_folder_below_one_that_others_can_write_is_refused(device, bundle, tmp_path):
    above = tmp_path / "shared"
    (above / "mine").mkdir(parents=True)
    above.chmod(0o777)
    words = ["deploy", bundle, f"{device.address}{above / 'mine'}", *PYTHON]
    assert f"chmod go-w {above}" in failed(*words, code=5, options=device.options())
    above.chmod(0o1777)  # as /tmp: others cannot rename what is in it
    assert edgecompile(*words, "--no-bench", options=device.options()).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to give files away")
def test_a_folder_of_somebody_else_is_refused(device, bundle, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, 4321, -1)
    line = failed("deploy", bundle, f"{device.address}{folder}", *PYTHON, code=5, options=device.options())
    assert f"{folder} belongs to user 4321; choose a folder of yours" in line


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_the_modes_of_what_is_copied_are_set(mask, devices, bundle, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").write_text(f'#!/bin/sh\numask {mask:04o}\nexec {sys.executable} "$@"\n')
    (tools / "python3").chmod(0o755)
    device = devices(path=f"{tools}:/usr/bin:/bin")
    words = ["deploy", bundle, device.address, *PYTHON, "--no-bench"]
    assert edgecompile(*words, options=device.options()).returncode == 0
    root = device.home / "edgecompile"
    for path in [root, *root.rglob("*")]:
        mode = path.lstat().st_mode
        assert stat.S_ISLNK(mode) or not mode & 0o022, path
    (copied,) = (root / "bundles").rglob("*.bundle.zip")
    assert copied.stat().st_mode == stat.S_IFREG | 0o644
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files, with some that others or killed calls have left; those that stay begin so."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))  # short: ssh puts a socket there
    for name in ("edgecompile-old", "edgecompile-ssh-old", "stay-old"):
        (folder / name).mkdir(mode=0o700)
        (folder / name / "file").write_text("x")
    (folder / "edgecompile-stay-new").mkdir(mode=0o700)
    (folder / "edgecompile-stay-open").mkdir(mode=0o700)
    (folder / "edgecompile-stay-open").chmod(0o755)
    (folder / "edgecompile-stay-file").write_text("x")
    (folder / "edgecompile-stay-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "elsewhere/file").write_text("x")
    if os.geteuid() == 0:
        (folder / "edgecompile-stay-theirs").mkdir(mode=0o700)
        os.chown(folder / "edgecompile-stay-theirs", 4321, -1)
    for path in folder.iterdir():
        if "new" not in path.name:
            os.utime(path, (OLD, OLD), follow_symlinks=False)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert (tmp_path / "elsewhere/file").exists()
    shutil.rmtree(folder)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "stay" not in path.name)


def test_folders_that_killed_calls_left_here_go(scratch):
    before = sum("stay" in path.name for path in scratch.iterdir())
    connection.sweep_scratch()
    assert left(scratch) == []
    assert sum("stay" in path.name for path in scratch.iterdir()) == before


def test_folders_that_killed_calls_left_go_with_the_next_one(device, bundle, scratch):
    words = ["verify", bundle, "--on", device.address, *PYTHON]
    assert edgecompile(*words, options=device.options(), TMPDIR=str(scratch)).returncode == 0
    assert left(scratch) == []


def test_the_limits_of_a_model_hold_there(device, bundle):
    words = ["verify", bundle, "--on", device.address, *PYTHON]
    line = failed(*words, "--timeout", "0.001", code=7, options=device.options())
    assert "was ended after 0.001 s, its limit" in line
    line = failed(*words, code=7, options=device.options(), EDGECOMPILE_MODEL_TIMEOUT="0.001")
    assert "EDGECOMPILE_MODEL_TIMEOUT" in line
    assert "found 'soon'" in failed(*words, "--timeout", "soon", code=2, options=device.options())


def test_a_long_folder_of_temporary_files_is_no_obstacle(device, bundle, tmp_path):
    """A path of ssh's socket has at most 107 bytes; the folder that is taken instead is this user's own, and goes."""
    folder = tmp_path / ("long" * 20)
    folder.mkdir(parents=True)
    words = ["verify", bundle, "--on", device.address, *PYTHON]
    done = edgecompile(*words, options=device.options(), TMPDIR=str(folder), XDG_RUNTIME_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("length", "there"), [(12, True), (connection.LONGEST_FOLDER, True), (60, False)])
def test_where_the_socket_lies(monkeypatch, length, there):
    base = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    folder = base / ("x" * (length - len(str(base)) - 1)) if length > len(str(base)) + 1 else base
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    made = Path(connection.socket_folder())
    assert (made.parent == folder) == there
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert len(f"{made}/{'0' * 40}.{'0' * 16}".encode()) <= 103
    made.rmdir()
    monkeypatch.setattr(connection, "_places", lambda: ["/no/such/folder"])
    with pytest.raises(MissingToolError, match=r"tried /no/such/folder\); set TMPDIR to one"):
        connection.socket_folder()
    shutil.rmtree(base)
