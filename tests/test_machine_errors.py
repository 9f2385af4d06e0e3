"""What this machine lacks is told in one line, with a fix and the exit code of its kind."""

from __future__ import annotations

import errno

import pytest

from edgecompile import cli

CASES = [
    (MemoryError(), 5, "out of memory"),
    (RuntimeError("Exception from src/inference: std::bad_alloc"), 5, "out of memory"),
    (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 5, "/x/y: no space left on the disk"),
    (OSError(errno.EROFS, "Read-only file system", "/x/y"), 4, "/x/y: the file system is read-only"),
    (RuntimeError("Could not determine home directory."), 4, "set HOME"),
    (KeyError("getpwuid(): uid not found: 12345"), 4, "set HOME"),
    (ImportError("libGL.so.1: cannot open shared object file"), 4, "pip install opencv-python-headless"),
    (OSError(errno.EACCES, "Permission denied", "/x/y"), 5, "Permission denied: /x/y"),
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
