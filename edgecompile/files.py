"""Files that appear whole or not at all, and digests of files. Standard library only: devices have it too."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20


@contextmanager
def replaced(path: Path, *, via: Path | None = None, sync: bool = True, mode: int | None = None) -> Iterator[BinaryIO]:
    """Yields a new file, to be written and read, that takes the place of `path` when the body ends without an error.

    Other processes see all of it or what was there before. No temporary file is left when it fails.

    Args:
        via: folder of the temporary file, on the same file system; beside `path` where None.
        sync: whether the file also survives a power cut.
        mode: permissions of the file; by the umask where None.
    """
    temporary = (via or path.parent) / f".{path.name[:40]}.{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        with temporary.open("w+b") as stream:
            yield stream
            if mode is not None:
                os.fchmod(stream.fileno(), mode)
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if sync:
        sync_folder(path.parent)


def write_atomically(
    path: Path, content: bytes, *, via: Path | None = None, sync: bool = True, mode: int | None = None
) -> None:
    """Writes a file as `replaced` does; makes its folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path, via=via, sync=sync, mode=mode) as stream:
        stream.write(content)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk: a rename survives a power cut only after that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path | str, *, sync: bool = False) -> tuple[str, int]:
    """Returns the sha256, in hex, and the size in bytes of a file; with `sync`, also waits until it is on the disk."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
        if sync:
            os.fsync(file.fileno())
    return digest.hexdigest(), size
