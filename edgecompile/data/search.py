"""Finds files by what they hold: a lock knows base names and digests, and on no two machines the same folders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from edgecompile.errors import RecipeError
from edgecompile.files import hash_file
from edgecompile.places import fetched_folder, sample_folder, shown

MOST_FILES = 500_000
"""Files of one folder that are looked at: the working directory may be the root of a large disk."""


class Finder:
    """Looks for files in the folders given, then the working directory, the roots of data, what was fetched and the
    embedded sample.

    A file of the base name looked for comes first. A file that was renamed is found too, but not in the working
    directory and in roots of data, which may hold anything.
    """

    def __init__(self, folders: Iterable[Path] = (), roots: Iterable[Path] = ()) -> None:
        """Raises:
        RecipeError: one of `folders` is no folder.
        """
        given = list(folders)
        for folder in given:
            if not folder.is_dir():
                raise RecipeError(f"'{folder}' is no folder", where="command line:--search")
        by_name = [Path.cwd(), *map(_absolute, roots)]
        self.folders = list(dict.fromkeys(map(_absolute, [*given, *by_name, fetched_folder(), sample_folder()])))
        self._by_name_only = set(by_name) - set(map(_absolute, given))
        self._listings: dict[Path, dict[str, list[str]]] = {}
        self._digests: dict[str, str | None] = {}

    def find(self, name: str, sha256: str) -> Path | None:
        """Returns a file of this content; None where there is none."""
        for path in self._named(name):
            if self._digest(path) == sha256:
                return Path(path)
        for folder in self.folders:
            if folder in self._by_name_only:
                continue
            for path in self._alike(folder, Path(name).suffix):
                if self._digest(path) == sha256:
                    return Path(path)
        return None

    def namesake(self, name: str) -> Path | None:
        """Returns the first file of this base name, whatever it holds; None where there is none."""
        return next(map(Path, self._named(name)), None)

    def looked_in(self) -> str:
        """Returns the folders, for messages."""
        return ", ".join("." if folder == Path.cwd() else shown(folder) for folder in self.folders)

    def _named(self, name: str) -> Iterable[str]:
        return (path for folder in self.folders for path in self._listing(folder).get(name, ()))

    def _alike(self, folder: Path, suffix: str) -> Iterable[str]:
        return (path for name, paths in self._listing(folder).items() if name.endswith(suffix) for path in paths)

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        """Returns the files below a folder by base name, those of hidden folders left out."""
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            count = 0
            for root, below, names in os.walk(folder):
                below[:] = sorted(name for name in below if not name.startswith("."))
                for name in sorted(names):
                    listing.setdefault(name, []).append(os.path.join(root, name))
                count += len(names)
                if count > MOST_FILES:
                    break
            self._listings[folder] = listing
        return self._listings[folder]

    def _digest(self, path: str) -> str | None:
        """Returns the sha256 of a file, read once; None where it cannot be read."""
        if path not in self._digests:
            try:
                self._digests[path] = file_digest(path) if os.path.isfile(path) else None
            except OSError:
                self._digests[path] = None
        return self._digests[path]


def file_digest(path: str) -> str:
    """Returns the sha256 of a file's content."""
    return hash_file(path)[0]


def _absolute(folder: Path) -> Path:
    return Path(os.path.abspath(folder))
