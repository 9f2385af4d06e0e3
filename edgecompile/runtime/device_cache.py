"""Models as this machine compiled them, kept for the next start in the user's own folder.

The library that wrote a kept model reads it back as code, so it is opened only where it is this user's own: the
folder belongs to the user, nobody else may enter it, and each file is sealed together with the facts it was made for
(the bundle, the library, the processor, the options). Whatever does not fit, damaged, foreign or of other facts, is a
miss that the next compilation replaces. Nothing here ever fails: a start without the cache is only slower.

`EDGECOMPILE_DEVICE_CACHE` names another folder, or turns it off: "off".
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgecompile.json_types import JsonObject

VARIABLE = "EDGECOMPILE_DEVICE_CACHE"
OFF = "off"
FOLDER = "compiled-1"
"""Folder of this format of files, below the chosen one."""
MAGIC = b"edgecompile-compiled-1 "
SUFFIX, PART = ".blob", ".part"
MOST_BYTES = 256 << 20
"""Bytes that all kept models may take; those not used for longest are removed first."""
ABANDONED = 3600.0
"""Seconds after which the writer of an unfinished file counts as killed."""


def location() -> Path | None:
    """Returns the folder of kept models; None where it is turned off or there is no place for it."""
    chosen = os.environ.get(VARIABLE)
    if chosen == OFF or not hasattr(os, "O_DIRECTORY"):
        return None
    if chosen:
        return Path(chosen).expanduser().absolute() / FOLDER
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache) if cache else Path.home() / ".cache") / "edgecompile-device" / FOLDER
    except RuntimeError:  # no home
        return None


def machine() -> dict[str, str]:
    """Returns the facts of this machine that a compiled model depends on."""
    facts = {"arch": platform.machine(), "system": platform.system()}
    with suppress(OSError):
        facts["machine"] = Path("/etc/machine-id").read_text().strip()
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if not name.strip():
                break  # the first processor stands for all
            if name.strip() in ("model name", "flags", "Features", "CPU part"):
                facts[name.strip()] = value.strip()
    return facts


def find(facts: JsonObject, refused: Callable[[str], None] = lambda why: None) -> bytes | None:
    """Returns the content kept for exactly these facts; None where there is none, or none that may be trusted.

    Args:
        facts: plain JSON: all that the content depends on.
        refused: called with why something that is there is not trusted.
    """
    name, digest = _named(facts)
    try:
        with _own_folder() as folder:
            with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
                if not _is_own(os.fstat(file.fileno()), stat.S_ISREG):
                    raise PermissionError("others may read or change it")
                seal, content = file.read(len(MAGIC) + 64), file.read()
            if seal == _seal(digest, content):
                os.utime(name, dir_fd=folder)
                return content
            refused("it is damaged, or was not written here for this")
    except FileNotFoundError:
        pass  # the usual miss
    except OSError as error:
        if location() is not None:
            refused(error.strerror or str(error))
    return None


def keep(facts: JsonObject, content: bytes) -> None:
    """Keeps a content for these facts, whole or not at all, and makes room for it."""
    name, digest = _named(facts)
    if len(content) > MOST_BYTES:
        return
    part = f"{name}.{os.getpid()}.{time.monotonic_ns()}{PART}"
    with suppress(OSError), _own_folder(make=True) as folder:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(part, flags, 0o600, dir_fd=folder), "wb") as file:
                file.write(_seal(digest, content))
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            with suppress(OSError):
                os.unlink(part, dir_fd=folder)
        _make_room(folder, name)


def forget(facts: JsonObject) -> None:
    """Removes the content kept for these facts: the library that wrote it refuses it."""
    with suppress(OSError), _own_folder() as folder:
        os.unlink(_named(facts)[0], dir_fd=folder)


def _named(facts: JsonObject) -> tuple[str, bytes]:
    """Returns the file name for facts and their digest."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:40] + SUFFIX, digest.digest()


def _seal(digest: bytes, content: bytes) -> bytes:
    """Returns the head of a file: over the facts too, so that a file under another's name is no hit."""
    sealed = hashlib.sha256(digest)
    sealed.update(content)
    return MAGIC + sealed.hexdigest().encode()


@contextmanager
def _own_folder(*, make: bool = False) -> Iterator[int]:
    """Opens the folder and returns its descriptor: the folder that is checked is then the folder that is used.

    Raises:
        OSError: it is turned off, is not there, or is not this user's alone.
    """
    path = location()
    if path is None:
        raise OSError("turned off")
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not _is_own(os.fstat(folder), stat.S_ISDIR):
            raise PermissionError("is not this user's alone")
        yield folder
    finally:
        os.close(folder)


def _is_own(facts: os.stat_result, kind: Callable[[int], bool]) -> bool:
    """Whether a file or folder is of its kind, belongs to this user, and nobody else may read or change it."""
    return kind(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o077


def _make_room(folder: int, newest: str) -> None:
    """Removes files that killed writers left, and the models not used for longest while all take more than they may."""
    entries = []
    for name in os.listdir(folder):
        with suppress(OSError):
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if name.endswith(PART) and time.time() - facts.st_mtime > ABANDONED:
                os.unlink(name, dir_fd=folder)
            elif name.endswith(SUFFIX):
                entries.append((name != newest, -facts.st_mtime, name, facts.st_size))
    total = 0
    for _, _, name, size in sorted(entries):
        total += size
        if total > MOST_BYTES:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
