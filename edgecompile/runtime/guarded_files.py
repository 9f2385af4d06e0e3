"""Small files that decide about trust, read whole: policies, keys, signatures. Standard library alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edgecompile.errors import BundleError

NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""A pipe that nobody writes to is then opened at once, and refused."""


def read_whole(path: Path, most: int, what: str) -> bytes:
    """Returns the content of a plain file; a link is followed.

    Args:
        path: of the file.
        most: bytes that it may have.
        what: such as "a key", for the message.

    Raises:
        BundleError: there is no such file, it may not be read, is a folder or a pipe, or is larger.
    """
    return _read(path, most, what, guarded=False)


def read_guarded(path: Path, most: int, what: str) -> bytes:
    """As `read_whole`, of a file that nobody but its owner may change: this user, or the administrator.

    Raises:
        BundleError: as `read_whole`; or others may write to it or to its folder.
    """
    content = _read(path, most, what, guarded=True)
    folder = path.resolve().parent
    _require_guarded(folder, os.stat(folder), what)
    return content


def _read(path: Path, most: int, what: str, *, guarded: bool) -> bytes:
    where = str(path)
    try:
        with open(os.open(path, os.O_RDONLY | NO_WAIT), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "no plain file"
                raise BundleError(f"is {kind}, expected {what}", where=where)
            if guarded:
                _require_guarded(path, facts, what)
            content = file.read(most + 1)
    except IsADirectoryError:
        raise BundleError(f"is a folder, expected {what}", where=where) from None
    except OSError as error:
        raise BundleError(f"cannot be read: {error.strerror or error}, expected {what}", where=where) from None
    if len(content) > most:
        raise BundleError(f"is larger than {most} bytes, which {what} is not", where=where)
    return content


def _require_guarded(path: Path, facts: os.stat_result, what: str) -> None:
    """Demands that others cannot change a file, or what lies in a folder. In a folder with the sticky bit, as /tmp,
    nobody replaces files of others."""
    if facts.st_uid not in (0, os.geteuid()):
        raise BundleError(
            f"belongs to user {facts.st_uid}, who could change {what}",
            where=str(path),
            fix="let it belong to you or to root",
        )
    sticky = stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX
    if facts.st_mode & 0o022 and not sticky:
        raise BundleError(
            f"others may write to it (mode {facts.st_mode & 0o7777:o}), and could change {what}",
            where=str(path),
            fix=f"chmod go-w {path}",
        )
