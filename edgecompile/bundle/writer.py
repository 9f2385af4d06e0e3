"""Writes the sealed zip, so that equal members give equal bytes on every machine.

Layout: members in the order of their names, stored (not compressed), dated 1980-01-01, mode 0644, made by "Unix", no
extra fields. The archive comment is `edgecompile-bundle-1 sha256:<64 hex>`, the digest of every byte of the file before
the comment. Readers check that seal before they parse anything, so that a flip in a zip header is found too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from edgecompile.bundle.manifest import File, complete_manifest
from edgecompile.errors import BundleError, StepError
from edgecompile.files import CHUNK, hash_file, replaced
from edgecompile.json_types import JsonObject
from edgecompile.runtime.archive import MANIFEST, MEMBER_NAME, MOST_MEMBERS, SEAL, SEAL_LENGTH

LARGEST = (1 << 31) - 1
"""Bytes a bundle may have. Beyond it a zip needs extra fields (ZIP64), and no device of ours holds such a model."""

Members = Mapping[str, "bytes | Path"]


def write_bundle(path: Path, members: Members, manifest: JsonObject) -> str:
    """Writes a bundle and returns its digest (sha256 of the whole file, as `sha256sum` prints it).

    Args:
        path: where to write the bundle. It appears there whole or not at all.
        members: name in the zip to bytes, or to the file that holds them; all but manifest.json.
        manifest: plain JSON of the manifest without `files`, which is filled in from the members.

    Raises:
        BundleError: a member's name is not allowed, or the manifest does not have its form.
        StepError: a member changed while it was read, the bundle would be too large, or the disk refuses.
    """
    _check_names(members)
    files = {name: _measure(content) for name, content in members.items()}
    if sum(file.size for file in files.values()) > LARGEST - (1 << 24):
        raise StepError(f"the bundle would be larger than {LARGEST >> 20} MiB")
    complete = complete_manifest(manifest, files).to_bytes()
    contents: dict[str, bytes | Path] = {**members, MANIFEST: complete}
    digests = {name: file.sha256 for name, file in files.items()} | {MANIFEST: hashlib.sha256(complete).hexdigest()}
    try:
        with replaced(path) as stream:
            _write_zip(stream, contents, digests)
            return _seal(stream)
    except OSError as error:
        raise StepError(f"the bundle cannot be written: {error.strerror or error}", where=str(path)) from error


def _check_names(members: Members) -> None:
    """Refuses names that could be written elsewhere, or over another where a file system ignores case."""
    if len(members) >= MOST_MEMBERS:
        raise BundleError(f"{len(members)} members where a bundle may have {MOST_MEMBERS}")
    seen: dict[str, str] = {}
    for name in members:
        if not MEMBER_NAME.fullmatch(name):
            raise BundleError(f"'{name}' cannot be the name of a member", fix="use a relative name without '..'")
        if name == MANIFEST:
            raise BundleError(f"'{MANIFEST}' is written by the writer itself")
        earlier = seen.setdefault(name.casefold(), name)
        if earlier != name:
            raise BundleError(f"members '{earlier}' and '{name}' differ only in case")
    for name in members:
        for parent in PurePosixPath(name).parents:
            if str(parent).casefold() in seen:
                raise BundleError(f"'{parent}' cannot be both a member and the folder of '{name}'")


@contextmanager
def _opened(content: bytes | Path) -> Iterator[Iterator[bytes]]:
    """Yields the chunks of a member's content."""
    if isinstance(content, bytes):
        yield iter((content,))
    else:
        with content.open("rb") as stream:
            yield iter(lambda: stream.read(CHUNK), b"")


def _measure(content: bytes | Path) -> File:
    """Returns the digest and the size of a member's content."""
    if isinstance(content, bytes):
        return File(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    sha256, size = hash_file(content)
    return File(sha256=sha256, size=size)


def _write_zip(stream: BinaryIO, contents: Members, digests: Mapping[str, str]) -> None:
    """Writes the zip with a comment of the seal's length; the seal itself is known only afterwards."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        archive.comment = bytes(SEAL_LENGTH)
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            digest = hashlib.sha256()
            with archive.open(entry, "w") as member, _opened(contents[name]) as chunks:
                for chunk in chunks:
                    digest.update(chunk)
                    member.write(chunk)
            if digest.hexdigest() != digests[name]:
                raise StepError(f"'{name}' changed while it was packed")


def _seal(stream: BinaryIO) -> str:
    """Puts the digest of everything before the comment into the comment; returns the digest of the whole file."""
    stream.flush()
    left = stream.seek(0, os.SEEK_END) - SEAL_LENGTH
    stream.seek(0)
    digest = hashlib.sha256()
    while chunk := stream.read(min(CHUNK, left)):
        digest.update(chunk)
        left -= len(chunk)
    seal = SEAL + digest.hexdigest().encode("ascii")
    stream.seek(-SEAL_LENGTH, os.SEEK_END)
    stream.write(seal)
    digest.update(seal)
    return digest.hexdigest()


def copy_bundle(bundle: Path, path: Path) -> Path:
    """Copies a finished bundle to `path`, which appears whole or not at all; returns `path`.

    Raises:
        StepError: the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as stream, bundle.open("rb") as source:
            shutil.copyfileobj(source, stream, CHUNK)
    except OSError as error:
        raise StepError(f"the bundle cannot be written: {error.strerror or error}", where=str(path)) from error
    return path
