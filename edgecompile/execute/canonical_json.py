"""Equal values have equal bytes: canonical JSON, digests, and files that show any damage to themselves."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


class Damaged(Exception):
    """A stored file is not what was written. Always handled inside this package: a damaged result is built again."""


def plain(value: Any) -> Any:
    """Returns `value` with mappings as `dict`, sequences as `list` and enum members as their values.

    Raises:
        TypeError: when it holds anything that is no plain JSON value.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"key {odd[0]!r} is not a string")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} is not a plain JSON value")


def canonical_json(value: Any) -> bytes:
    """Returns `value` as JSON in the one form of RFC 8785 (sorted keys, shortest numbers, UTF-8).

    Raises:
        TypeError: when it holds anything that is no plain JSON value.
        ValueError: when a number has no exact JSON form (NaN, infinity, an integer beyond 2**53).
    """
    import rfc8785

    return rfc8785.dumps(plain(value))


def digest_of(value: Any) -> str:
    """Returns the sha256, in hex, of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


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


def seal(document: Any) -> bytes:
    """Returns `document` as one line of JSON and a second line with that line's sha256: see `unseal`."""
    body = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return b"%s\n%s\n" % (body, hashlib.sha256(body).hexdigest().encode())


def unseal(raw: bytes) -> Any:
    """Returns the document of sealed bytes.

    Raises:
        Damaged: when as much as one bit differs from what `seal` returned.
    """
    body, _, rest = raw.partition(b"\n")
    if rest != hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise Damaged("its seal does not fit its content")
    return json.loads(body)


def write_atomically(path: Path, content: bytes, via: Path, *, sync: bool = True) -> None:
    """Writes a file so that others see all of it or nothing, by way of a temporary file in the folder `via`.

    With `sync` it also survives a power cut. Creates missing folders; leaves no temporary file when it fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = via / f"write-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk: a rename survives a power cut only after that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
