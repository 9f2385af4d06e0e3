"""Digests of sources. A file is read again only when its stat says that it may have changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from edgecompile.errors import RecipeError
from edgecompile.execute.canonical_json import Damaged, seal, unseal
from edgecompile.files import hash_file, write_atomically
from edgecompile.plan.step import Source

SETTLED_NS = 2_000_000_000
"""A file that changed less than this long ago is not remembered: it might change again without its stat showing it,
because file systems count time in steps of up to 2 s."""

MOST_NAMES = 200_000
"""Names remembered of one folder; beyond that only those last asked for are kept."""


@dataclass(frozen=True)
class SourceDigest:
    """What a source holds.

    Attributes:
        digest: sha256, in hex, over the base names and the contents of its files in their order.
        files: base name and sha256 of each file; None for a file that does not exist (only in a source of many).
    """

    digest: str
    files: tuple[tuple[str, str | None], ...]


class Sources:
    """Digests of sources, each worked out once, with a memory on disk of the files read before.

    Args:
        folder: where that memory is kept, in a store; neither need exist, and nothing is kept before the store does.
            Damage to it, or a disk that cannot be written, costs time and nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Source, SourceDigest] = {}

    def of(self, source: Source) -> SourceDigest:
        """Returns the digest of a source.

        Raises:
            RecipeError: when a file cannot be read; when the one file of a source does not exist.
        """
        if source not in self._known:
            self._known[source] = self._digest(source)
        return self._known[source]

    def unchanged(self, source: Source) -> bool:
        """Returns whether the files still hold what they did when they were first asked for."""
        return self._digest(source) == self.of(source)

    def _digest(self, source: Source) -> SourceDigest:
        folders: dict[str, _Folder] = {}
        files: list[tuple[str, str | None]] = []
        for path in source.paths:
            parent, name = os.path.split(path)
            if parent not in folders:
                folders[parent] = _Folder(parent, self._folder)
            try:
                files.append((name, folders[parent].digest(name)))
            except FileNotFoundError as error:
                if not source.many:
                    raise RecipeError(f"{source.name} '{path}' does not exist") from error
                files.append((name, None))
            except OSError as error:
                raise RecipeError(f"{source.name} '{path}' cannot be read: {error.strerror}") from error
        for folder in folders.values():
            folder.save()
        return SourceDigest(_digest_of_listing(files), tuple(files))


def _digest_of_listing(files: list[tuple[str, str | None]]) -> str:
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(json.dumps([name, content], ensure_ascii=False).encode())
    return digest.hexdigest()


class _Folder:
    """What is remembered of the files of one folder: base name to [stat, sha256]."""

    def __init__(self, path: str, memory: Path) -> None:
        self._path = path
        self._file = memory / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
        self._asked: dict[str, list[str]] = {}
        self._grown = False
        try:
            self._known: dict[str, list[str]] = dict(unseal(self._file.read_bytes()))
        except (OSError, Damaged, ValueError, TypeError):
            self._known = {}

    def digest(self, name: str) -> str:
        """Returns the sha256 of a file of this folder, from memory where its stat is the same."""
        path = os.path.join(self._path, name)
        before = os.stat(path)
        known = self._known.get(name)
        if known and known[0] == _mark(before):
            self._asked[name] = known
            return known[1]
        now = time.time_ns()
        content, _ = hash_file(path)
        settled = now - max(before.st_mtime_ns, before.st_ctime_ns) > SETTLED_NS
        if settled and _mark(os.stat(path)) == _mark(before):
            self._asked[name] = [_mark(before), content]
            self._grown = True
        return content

    def save(self) -> None:
        """Writes what was learned, where that is possible and a build has made the store: a plan makes none."""
        if not self._grown or not self._file.parent.parent.is_dir():
            return
        known = self._asked if len(self._known) > MOST_NAMES else {**self._known, **self._asked}
        try:
            self._file.parent.mkdir(exist_ok=True)
            write_atomically(self._file, seal(known), sync=False)
        except (OSError, UnicodeEncodeError):
            pass  # a store that cannot be written still serves


def _mark(stat: os.stat_result) -> str:
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
