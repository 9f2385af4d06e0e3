"""What this machine lacks is reported in one line, with a fix and the exit code of its kind."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest

from edgecompile import cli

CASES = [
    (MemoryError(), 5, "out of memory"),
    (RuntimeError("Exception from src/inference: std::bad_alloc"), 5, "out of memory"),
    (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 5, "/x/y: no space left on the disk"),
    (OSError(errno.EROFS, "Read-only file system", "/x/y"), 4, "/x/y: read-only file system; run in a folder"),
    (RuntimeError("Could not determine home directory."), 4, "set HOME"),
    (KeyError("getpwuid(): uid not found: 12345"), 4, "set HOME"),
    (ImportError("libGL.so.1: cannot open shared object file"), 4, "pip install opencv-python-headless"),
    (OSError(errno.EACCES, "Permission denied", "/x/y"), 4, "/x/y: permission denied; run in a folder"),
    (ValueError("what nobody thought of"), 1, "unexpected ValueError"),
]


@pytest.mark.parametrize(("error", "code", "message"), CASES)
def test_the_machine_is_named(
    error: Exception, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(cli, "run", fails)
    assert cli.main(["inspect"]) == code
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_an_interrupt_that_a_library_turned_into_its_own_error_is_one(monkeypatch, capsys):
    def fails(*_: object, **__: object) -> int:
        class Recipe(pydantic.BaseModel):
            name: str = "x"

            @pydantic.field_serializer("name")
            def interrupted(self, name: str) -> str:
                raise KeyboardInterrupt

        return len(Recipe().model_dump())

    monkeypatch.setattr(cli, "run", fails)
    assert cli.main(["inspect"]) == 130
    assert capsys.readouterr().err == "edgecompile: interrupted\n"


NOBODY = 54321
"""A user that no system knows."""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root becomes another user")
@pytest.mark.parametrize(
    ("home", "words", "code", "told"),
    [
        (None, ("plan", "recipe=quickstart"), 4, "this user has no home directory here; set HOME"),
        ("home", ("build", "recipe=quickstart", "--quiet"), 4, "permission denied"),
        ("home", ("list", "recipes"), 0, ""),
    ],
)
def test_a_user_without_a_home_or_with_one_that_is_read_only(tmp_path, home, words, code, told):
    """A real process of a user that the system does not know, in a folder that it may not write to."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o555)
    reads = "+dac_read_search"  # the interpreter may lie in a folder of root's; writing stays forbidden
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    become += [f"--inh-caps={reads}", f"--ambient-caps={reads}"]
    settings = {"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[1])}
    settings |= {"HOME": str(folder)} if home else {}
    command = [*become, sys.executable, "-m", "edgecompile", *words]
    finished = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=120)
    lines = [line for line in finished.stderr.splitlines() if line.startswith("edgecompile: ")]
    assert (finished.returncode, len(lines)) == (code, bool(told)), finished.stderr
    assert told in " ".join(lines)
