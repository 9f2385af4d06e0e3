"""Opens and verifies a bundle, with the standard library alone.

A bundle is one zip of stored members, whose archive comment seals every byte before it. The seal is checked before
anything is parsed. Then only the form of zip that the writer writes is accepted (members back to back, local and
central headers that agree, nothing between or behind them), so that no two programs can see different contents in it.
The seal finds damage and careless changes; it is no signature: it does not prove who made the bundle. Signatures lie
beside the bundle, and `trust` says which of them this machine demands. They are over the digest of the whole file.
Where one is demanded, directory and manifest are proven to be of the very bytes that were hashed; and every member is
compared with its digest in that manifest whenever it is read. So a file that changes meanwhile is never taken for the
signed one.
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from edgecompile.errors import BundleError, InputError, MissingToolError
from edgecompile.runtime.strict_json import parse_json
from edgecompile.runtime.trust import policy as trust_policy

FORMAT = "edgecompile-bundle"
SCHEMA = 1
MANIFEST = "manifest.json"
SEAL = b"edgecompile-bundle-1 sha256:"
SEAL_LENGTH = len(SEAL) + 64
MEMBER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")
"""Relative names without empty parts or parts that begin with a dot: nothing escapes from a folder by them."""
MOST_MEMBERS = 4096
LARGEST_DOCUMENT = 8 << 20
"""Bytes that a JSON document of a bundle may have: read, it takes up to 25 times as much memory."""
UNIX = 3
"""System whose file modes the directory of the zip holds."""
CHUNK = 1 << 20

Part = tuple[int, bytes]
"""Bytes of a bundle, and the offset at which they lie."""

_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED = 0


class Archive:
    """A bundle whose seal, members' names and sizes were found in order.

    Attributes:
        path: the file.
        digest: sha256 of the whole file, as `sha256sum` prints it.
        manifest: the document of `manifest.json`.
        signed: what its signatures prove; None where this machine has no trust policy, and nothing was asked.
    """

    def __init__(self, path: Path, *, trusting: bool = False) -> None:
        """Opens the bundle at `path`.

        Args:
            trusting: whether the trust policy of this machine is not asked: for a bundle that this machine has made.

        Raises:
            InputError: there is no such file, or it may not be read.
            BundleError: it is not a bundle, is of another format version, truncated or altered, or the trust policy of
                this machine does not allow it.
            MissingToolError: the policy demands a signature, and the library that checks it is not installed.
        """
        self.path = Path(path)
        self._file = _open(self.path)
        try:
            self.digest, end = _check_seal(self._file)
            policy = None if trusting else trust_policy()
            self.signed = policy.check(self.path, self.digest) if policy else None
            self._places, directory = _read_directory(self._file, end)
            self.manifest, manifest = self._read_manifest()
            if policy:
                _require_hashed(self._file, self.digest, (directory, manifest))
        except MissingToolError:
            self.close()
            raise
        except BundleError as error:
            self.close()
            raise error.located(self.path) from None
        except OSError as error:
            self.close()
            raise BundleError(f"cannot be read: {error.strerror or error}", where=str(self.path)) from error

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; nothing can be read after that."""
        self._file.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members, sorted; `manifest.json` among them."""
        return tuple(self._places)

    def read(self, name: str) -> bytes:
        """Returns the content of a member, after comparing it with its digest in the manifest.

        Raises:
            BundleError: there is no such member, or its content has another digest than the manifest states.
        """
        if name not in self._places:
            raise BundleError(f"has no member '{name}'", where=str(self.path))
        offset, size = self._places[name]
        self._file.seek(offset)
        content = self._file.read(size)
        if name != MANIFEST and hashlib.sha256(content).hexdigest() != self.manifest["files"][name]["sha256"]:
            raise BundleError(f"'{name}' is not the file that the manifest names", where=str(self.path))
        return content

    def read_json(self, name: str) -> Any:
        """Returns the JSON document in a member.

        Raises:
            BundleError: as `read`, or the member is not a JSON document.
        """
        if name in self._places and self._places[name][1] > LARGEST_DOCUMENT:
            raise BundleError(f"'{name}' is too large for a document", where=str(self.path))
        try:
            return parse_json(self.read(name), name)
        except BundleError as error:
            raise error.located(self.path) from None

    def folder(self, prefix: str) -> Folder:
        """Returns name below `prefix` (such as "artifact/") to content, of all members there."""
        return Folder(self, prefix)

    def check_members(self) -> int:
        """Compares every member with its digest in the manifest; returns how many there are.

        Raises:
            BundleError: for the first that differs.
        """
        for name in self.names:
            self.read(name)
        return len(self.names)

    def _read_manifest(self) -> tuple[dict[str, Any], Part]:
        """Parses the manifest and compares its list of files with the members: equal names, equal sizes.

        Returns:
            The document, and the bytes that it was parsed from.
        """
        if MANIFEST not in self._places:
            raise BundleError(f"has no {MANIFEST}")
        offset, size = self._places[MANIFEST]
        if size > LARGEST_DOCUMENT:
            raise BundleError(f"'{MANIFEST}' is too large for a document")
        self._file.seek(offset)
        content = self._file.read(size)
        manifest = parse_json(content, MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise BundleError(f"{MANIFEST} is not that of a bundle")
        if manifest.get("schema") != SCHEMA:
            raise BundleError(
                f"{MANIFEST} has schema {manifest.get('schema')!r}, this runtime reads {SCHEMA}",
                fix="pip install --upgrade edgecompile",
            )
        listed = _listed_sizes(manifest.get("files"))
        present = {name: size for name, (_, size) in self._places.items() if name != MANIFEST}
        for name in sorted(listed.keys() ^ present.keys()):
            raise BundleError(f"'{name}' is {'not in the zip' if name in listed else 'not listed in the manifest'}")
        for name in sorted(listed):
            if listed[name] != present[name]:
                raise BundleError(f"'{name}' has {present[name]} bytes, the manifest says {listed[name]}")
        return manifest, (offset, content)


class Folder(Mapping[str, bytes]):
    """The members below a prefix. A content is read, as `Archive.read` does, whenever it is asked for, and kept
    nowhere: a model need not be in memory twice.

    Attributes:
        digest: sha256 of the whole bundle.
    """

    def __init__(self, archive: Archive, prefix: str) -> None:
        self._archive = archive
        self.digest = archive.digest
        self._members = {name[len(prefix) :]: name for name in archive.names if name.startswith(prefix)}

    def __getitem__(self, name: str) -> bytes:
        return self._archive.read(self._members[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _open(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise InputError("is a folder, not a bundle", where=str(path))
        if not path.is_file():
            raise InputError("there is no such bundle", where=str(path))
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path)) from error


def _check_seal(file: BinaryIO) -> tuple[str, int]:
    """Compares the sealed digest with the bytes before it.

    Returns:
        The digest of the whole file, and the offset at which the comment begins.
    """
    left = file.seek(0, 2) - SEAL_LENGTH
    file.seek(max(left, 0))
    seal = file.read(SEAL_LENGTH)
    sealed = re.fullmatch(rb"edgecompile-bundle-(\d{1,9}) sha256:([0-9a-f]{64})", seal)
    if left < _END.size or not sealed:
        raise BundleError("is not a bundle, or its end is missing: there is no seal")
    if not seal.startswith(SEAL):
        raise BundleError(
            f"is a bundle of format {sealed[1].decode()}, this runtime reads format 1",
            fix="pip install --upgrade edgecompile",
        )
    end, digest = left, hashlib.sha256()
    file.seek(0)
    while left and (chunk := file.read(min(CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    if left or digest.hexdigest().encode() != sealed[2]:
        raise BundleError("is damaged or was altered: its content does not match its seal")
    digest.update(seal)
    return digest.hexdigest(), end


def _require_hashed(file: BinaryIO, digest: str, parts: tuple[Part, ...]) -> None:
    """Hashes a file again, and makes sure that what was parsed is of the bytes that have this digest."""
    hashed = hashlib.sha256()
    found = [bytearray() for _ in parts]
    position = file.seek(0)
    while chunk := file.read(CHUNK):
        hashed.update(chunk)
        for content, (offset, parsed) in zip(found, parts, strict=True):
            begin, end = max(offset - position, 0), offset + len(parsed) - position
            if end > 0:
                content += chunk[begin:end]
        position += len(chunk)
    if hashed.hexdigest() != digest or any(bytes(has) != parsed for has, (_, parsed) in zip(found, parts, strict=True)):
        raise BundleError("changed while it was read")


def _read_directory(file: BinaryIO, end: int) -> tuple[dict[str, tuple[int, int]], Part]:
    """Checks that the zip has the form that the writer writes.

    Args:
        end: offset of the archive comment: the end-of-directory record lies right before it.

    Returns:
        Name to (offset of the content, size); and the bytes that it was parsed from.
    """
    file.seek(end - _END.size)
    magic, disk, first_disk, entries, total, size, start, comment = _END.unpack(file.read(_END.size))
    if magic != b"PK\5\6" or disk or first_disk or entries != total or comment != SEAL_LENGTH:
        raise BundleError("is not a zip of one part")
    if total > MOST_MEMBERS or start + size != end - _END.size:
        raise BundleError("has a zip directory of the wrong size")
    file.seek(start)
    directory = file.read(size)
    if len(directory) != size:
        raise BundleError("has a truncated zip directory")
    places: dict[str, tuple[int, int]] = {}
    expected = 0
    for name, offset, length, local in _entries(directory, total):
        if offset != expected:
            raise BundleError(f"'{name}' does not follow the member before it")
        file.seek(expected)
        if file.read(len(local)) != local:
            raise BundleError(f"'{name}' has a header that differs from the directory")
        places[name] = (expected + len(local), length)
        expected += len(local) + length
    if expected != start:
        raise BundleError("has bytes that belong to no member")
    _check_names(list(places))
    return places, (start, directory)


def _entries(directory: bytes, total: int) -> Iterator[tuple[str, int, int, bytes]]:
    """Yields (name, offset, size, expected local header) of each member in the zip's directory."""
    position, seen = 0, set()
    for _ in range(total):
        if position + _CENTRAL.size > len(directory):
            raise BundleError("has a truncated zip directory")
        fields = _CENTRAL.unpack_from(directory, position)
        magic, _, needs, flags, method, clock, date, crc, packed, size, name_length, extra, remark, disk = fields[:14]
        raw = directory[position + _CENTRAL.size : position + _CENTRAL.size + name_length]
        position += _CENTRAL.size + name_length
        name = raw.decode("latin-1")
        if magic != b"PK\1\2" or len(raw) != name_length or not MEMBER_NAME.fullmatch(name):
            raise BundleError(f"has a member that may not be named so: {name!r}")
        if method != _STORED or flags or packed != size or extra or remark or disk:
            raise BundleError(f"'{name}' is not plainly stored")
        if fields[1] >> 8 != UNIX or not _is_plain(fields[15]):
            raise BundleError(f"'{name}' is not a plain file: its mode is {fields[15] >> 16:o}, expected 100644")
        if name in seen:
            raise BundleError(f"'{name}' is there twice")
        seen.add(name)
        local = _LOCAL.pack(b"PK\3\4", needs, flags, method, clock, date, crc, packed, size, name_length, 0) + raw
        yield name, fields[16], size, local
    if position != len(directory):
        raise BundleError("has a zip directory of the wrong size")


def _is_plain(attributes: int) -> bool:
    """Says whether the attributes of a member are those of a regular file that nobody runs with others' rights: no
    link, folder or device."""
    mode, special = attributes >> 16, stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
    return stat.S_ISREG(mode) and not mode & special and not attributes & 0xFFFF


def _check_names(names: list[str]) -> None:
    """Demands sorted names of which none is another's folder or differs from another in case only."""
    if names != sorted(names):
        raise BundleError("has members that are not sorted by name")
    folders = {parent for name in names for parent in _parents(name.casefold())}
    folded = [name.casefold() for name in names]
    if len(set(folded)) != len(folded) or folders.intersection(folded):
        raise BundleError("has members whose names collide on some file systems")


def _parents(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rsplit("/", 1)[0]
        yield name


def _listed_sizes(files: Any) -> dict[str, int]:
    """Returns name to size of the manifest's `files`."""
    if not isinstance(files, Mapping):
        raise BundleError(f"{MANIFEST} lists no files")
    sizes = {}
    for name, file in files.items():
        if (
            not isinstance(file, Mapping)
            or not isinstance(file.get("sha256"), str)
            or not re.fullmatch("[0-9a-f]{64}", file["sha256"])
            or type(file.get("size")) is not int
        ):
            raise BundleError(f"{MANIFEST} lists '{name}' without sha256 and size")
        sizes[name] = file["size"]
    return sizes
