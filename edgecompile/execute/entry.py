"""What a step put out: the files of a result, made ready to be kept, and compared with what was kept."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from edgecompile.errors import StepError, nearest
from edgecompile.execute import hardware
from edgecompile.execute.canonical_json import Damaged, digest_of, unseal
from edgecompile.files import hash_file, sync_folder
from edgecompile.json_types import JsonObject

SCHEMA = 1
Files = Mapping[str, Sequence[str | int]]
"""Path within an output to its sha256 and size in bytes."""


class InputDigest(TypedDict, total=False):
    """What a key holds of an input: the digest of a source, or that of an output and its base name."""

    source: str
    output: str
    name: str


class _Ingredients(TypedDict):
    schema: int
    function: str
    version: int
    params: JsonObject
    inputs: dict[str, InputDigest]
    tools: dict[str, str | None]


class Ingredients(_Ingredients, total=False):
    """All that the result of a step depends on, plain JSON: its digest is the key of the step.

    isa: instruction-set class of the machine, where the result depends on it.
    machine: see `hardware.fingerprint`, where the result is a measurement.
    """

    isa: str
    machine: hardware.Fingerprint


class StepRecord(TypedDict, total=False):
    """How a result was made, plain JSON. None of it counts as part of the result; other versions may lack a key.

    step, stage, function: of the step that ran.
    ingredients: of the key, to say later what changed.
    exclusive: of a measurement: whether no other step ran beside it.
    finished: when, ISO 8601, UTC.
    edgecompile: version that ran it.
    """

    step: str
    stage: str
    function: str
    ingredients: Ingredients
    wall_seconds: float
    peak_memory_mb: int
    exclusive: bool
    finished: str
    edgecompile: str


class EntryDocument(TypedDict):
    """A sealed entry. `output` is the digest of `files`."""

    schema: int
    key: str
    output: str
    files: dict[str, list[str | int]]
    record: StepRecord


@dataclass(frozen=True)
class Entry:
    """The result of a step.

    Attributes:
        key: of the step.
        digest: of all its files.
        files: path within the output to (sha256, size in bytes).
        facts: what the step's function returned.
        record: how it was made. Differs from run to run.
        root: folder that holds the files. Not to be written to.
        fresh: whether the step ran for this, rather than having been found in the store.
    """

    key: str
    digest: str
    files: Mapping[str, tuple[str, int]]
    facts: Mapping[str, Any]
    record: StepRecord
    root: Path
    fresh: bool = field(default=False, compare=False)

    def path(self, inside: str = "") -> Path:
        """Returns where a file of the output lies, or a folder of it, or all of it for "".

        Raises:
            StepError: when the step put out nothing of that name.
        """
        self.content(inside)
        return self.root / inside

    def content(self, inside: str = "") -> str:
        """Returns the sha256 of a file of the output, or the digest of a folder of it, or of all of it for "".

        Raises:
            StepError: when the step put out nothing of that name.
        """
        if not inside:
            return self.digest
        if inside in self.files:
            return self.files[inside][0]
        below = {name: list(file) for name, file in self.files.items() if name.startswith(f"{inside}/")}
        if not below:
            step = self.record.get("step", "?")
            raise StepError(f"step '{step}' put out no '{inside}'", fix=nearest(inside, self.files))
        return digest_of(below)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(size for _, size in self.files.values())


def read_entry(raw: bytes, key: str) -> EntryDocument:
    """Returns the document of a sealed entry.

    Raises:
        FileNotFoundError: when it is of another schema.
        Damaged: when it is not what was published under the key.
    """
    document = unseal(raw)
    try:
        if document["schema"] != SCHEMA:
            raise FileNotFoundError(errno.ENOENT, "of another schema", key)
        if document["key"] != key:
            raise Damaged("it is the entry of another key")
        if document["output"] != digest_of(document["files"]):
            raise Damaged("its output is not the digest of its files")
        if not isinstance(document["files"], dict) or not isinstance(document["record"], dict):
            raise Damaged("it is no entry")
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged("it is no entry") from error
    return document


def check(root: Path, files: Files, *, thorough: bool = True) -> None:
    """Compares the files below `root` with what should be there: path to (sha256, size).

    Raises:
        FileNotFoundError: when `root` does not exist.
        Damaged: when a file is missing, of another size, not a plain file, one too many, or (thorough) altered.
    """
    present = dict(walk(root))
    if present.keys() != files.keys():
        raise Damaged(f"files missing or too many: {sorted(present.keys() ^ files.keys())}")
    for name, (sha, size) in files.items():
        entry = present[name]
        if not entry.is_file(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_size != size:
            raise Damaged(f"'{name}' is not the file it was")
        if thorough and hash_file(entry.path)[0] != sha:
            raise Damaged(f"'{name}' was altered")


def seal_output(folder: Path) -> dict[str, list[str | int]]:
    """Makes a folder ready to be published: on the disk, not to be written. Returns path to [sha256, size].

    Raises:
        StepError: when it holds anything but plain files and folders.
    """
    files: dict[str, list[str | int]] = {}
    folders = {folder}
    for name, entry in walk(folder):
        path = Path(entry.path)
        if not entry.is_file(follow_symlinks=False):
            raise StepError(f"a step put out '{name}', which is no plain file")
        if entry.stat(follow_symlinks=False).st_nlink > 1:
            shutil.copyfile(path, twin := path.with_name(f"{path.name}.{secrets.token_hex(4)}"))
            os.replace(twin, path)
        files[name] = list(hash_file(path, sync=True))
        path.chmod(0o444)
        folders.add(path.parent)
    for below in folders:
        below.chmod(0o755)
        sync_folder(below)
    return dict(sorted(files.items()))


def walk(root: Path, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yields path below `root` and directory entry of all that is no folder."""
    with os.scandir(root) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                yield from walk(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}", entry
