"""Lists the pictures of a split, and counts what lies there and is left out. Reads names and stats, no picture.

Walks folders as Ultralytics does (`BaseDataset.get_img_files`): with all folders below, through links, names that begin
with a dot left out. Links that lead in a circle, a picture reached by two ways and a name in another Unicode
normalisation than on disk are recognised by what they lead to.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from unicodedata import normalize

from edgecompile.data.yolo_labels import label_path
from edgecompile.errors import Problem, RecipeError
from edgecompile.places import shown
from edgecompile.runtime.picture_headers import MOST_BYTES
from edgecompile.runtime.pictures import PICTURES
from edgecompile.yaml_text import read_text

UNREAD_PICTURES = {
    ".dng": "whose preview is all that OpenCV decodes",
    ".heic": "which OpenCV does not decode",
    ".heif": "which OpenCV does not decode",
}
"""Suffixes that Ultralytics reads and this does not, with the reason."""
COMPANIONS = frozenset(
    {".cache", ".csv", ".db", ".gz", ".html", ".ini", ".json", ".log", ".md", ".ndjson", ".npy", ".npz", ".pdf"}
    | {".tar", ".txt", ".xml", ".yaml", ".yml", ".zip"}
)
"""Suffixes of files that lie beside pictures and are no pictures."""
MOST_FILES = 1_000_000
"""Files of one split that are looked at: a path may lead to the root of a disk by mistake."""
LISTING_LARGEST = 64 << 20
MOST_PROBLEMS = 20
DEEPEST = 100
"""Levels of folders below a place that a split names."""
NOT_TEXT = re.compile("[\ud800-\udfff]")
"""What stands in a path for bytes that are no UTF-8; such a name fits into no lock."""

HIDDEN = "with a name that begins with a dot"
BROKEN = "that are broken links"
CIRCLE = "below links that lead in a circle"
DENIED = "that may not be read"
LARGE = f"larger than {MOST_BYTES >> 20} MiB"
SPECIAL = "that are no regular files"
NO_SUFFIX = "without a suffix"
MISSING = "that are not there"
OTHER_FORM = "named as another but for Unicode normalisation"


@dataclass
class Listing:
    """The pictures of a split.

    Attributes:
        pictures: absolute paths, sorted within each place that the split names, each picture once.
        resolved: of a picture in a place that is a link, the path through what the link leads to, where it differs:
            Ultralytics looks for labels beside that.
        left_out: why files were left out, and how many.
        repeated: how often the split names a picture that it has named already.
        keys: of each picture the name by which a document names it, where one does.
    """

    pictures: list[str] = field(default_factory=list)
    resolved: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> int:
        return len(self.pictures) + self.left_out.total()


class Folders:
    """Names of the files of folders, each listed once."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}
        self._normalized: dict[str, dict[str, str]] = {}

    def holds(self, path: str) -> bool:
        """Returns whether there is a file of exactly this name."""
        folder, name = os.path.split(path)
        return name in self.names(folder)

    def names(self, folder: str) -> frozenset[str]:
        """Returns the names in a folder; none where it cannot be listed."""
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]

    def as_written(self, path: str) -> str | None:
        """Returns the path of the file that has the name of `path` in whatever Unicode normalisation; None for none."""
        if path.isascii() or os.path.lexists(path):
            return path if os.path.lexists(path) else None
        folder, name = os.path.split(path)
        parent = self.as_written(folder) if folder != path else None
        if parent is None:
            return None
        if parent not in self._normalized:
            self._normalized[parent] = {normalize("NFC", written): written for written in sorted(self.names(parent))}
        entry = self._normalized[parent].get(normalize("NFC", name))
        return os.path.join(parent, entry) if entry else None


def list_pictures(root: Path, places: Iterable[str], where: str, folders: Folders) -> Listing:
    """Lists what a split names: folders, .txt listings, pictures, and patterns of these.

    Args:
        root: the folder to which the places are relative.
        where: the file, line and key of the split, for messages.

    Raises:
        RecipeError: the split names what does not exist, or a picture whose name is no text.
    """
    lister = _Lister(root, where, folders)
    for place in places:
        lister.add(place)
    listing = lister.listing
    for twin in _twins(listing.pictures, folders):
        listing.pictures.remove(twin)
        listing.left_out[OTHER_FORM] += 1
    if strange := [path for path in listing.pictures if NOT_TEXT.search(path)]:
        name = os.fsencode(strange[0]).decode(errors="backslashreplace")
        raise RecipeError(f"the name of picture '{name}' is not UTF-8", where=where, fix="rename it")
    return listing


def list_files(names: Mapping[str, str], where: str, folders: Folders) -> Listing:
    """Lists pictures that a document names; those that are not there are counted.

    Args:
        names: absolute path to the name in the document.
        where: the place in a file that names the document, for messages.
    """
    lister = _Lister(Path(), where, folders)
    for path, name in names.items():
        before = len(lister.listing.pictures)
        if (existing := folders.as_written(path)) is None or not os.path.isfile(existing):
            lister.listing.left_out[MISSING] += 1
            continue
        lister.add_file(existing)
        if len(lister.listing.pictures) > before:
            lister.listing.keys[existing] = name
    return lister.listing


def is_picture(name: str) -> bool:
    """Returns whether a name has a suffix that is read."""
    return os.path.splitext(name)[1].lower() in PICTURES


class _Lister:
    """Goes through the places of one split; what two places share is found once."""

    def __init__(self, root: Path, where: str, folders: Folders) -> None:
        self.root, self.where, self.folders = root, where, folders
        self.listing = Listing()
        self._seen: set[str] = set()
        self._walked: dict[str, int] = {}
        self._entries = 0

    def add(self, place: str) -> None:
        """Adds the pictures of one place."""
        path = os.path.abspath(self.root / os.path.expanduser(place))
        if not os.path.lexists(path) and place.startswith("../"):
            path = os.path.abspath(self.root / place[3:])  # as Roboflow writes it, and Ultralytics reads it
        existing = self.folders.as_written(path)
        if existing is not None and os.path.exists(existing):
            self._add_path(existing, place)
        elif glob.has_magic(place):
            self._add_pattern(path, place)
        else:
            fix = "check `path:` in it"
            raise RecipeError(f"'{place}' not found (looked in {self.root})", where=self.where, fix=fix)

    def add_file(self, path: str) -> None:
        """Adds one picture."""
        self._add_file(path, os.path.realpath(path), hidden=False)

    def _add_pattern(self, pattern: str, place: str) -> None:
        """Adds what a pattern matches; what lies in a folder that matches too belongs to that folder."""
        matches = sorted(islice(glob.iglob(pattern, recursive=True), MOST_FILES + 1))
        if len(matches) > MOST_FILES:
            raise RecipeError(f"more than {MOST_FILES:,} files match '{place}'", where=self.where)
        folders = {match.rstrip(os.sep) for match in matches if os.path.isdir(match)}
        outer = [match for match in matches if not any(os.fspath(up) in folders for up in Path(match).parents)]
        if not outer:
            raise RecipeError(f"nothing matches '{place}' (looked in {self.root})", where=self.where)
        for match in outer:
            self._add_path(os.path.abspath(match), place)

    def _add_path(self, path: str, place: str) -> None:
        before = len(self.listing.pictures)
        if os.path.isdir(path):
            self._walk(path, os.path.realpath(path), ())
            added = sorted(self.listing.pictures[before:])
            self.listing.pictures[before:] = added
            real = os.path.realpath(path)
            if real != path:
                self.listing.resolved.update((picture, real + picture[len(path) :]) for picture in added)
        elif os.path.isfile(path) and path.endswith(".txt"):
            self._add_listing(Path(path))
            self.listing.pictures[before:] = sorted(self.listing.pictures[before:])
        elif is_picture(path):
            self._add_file(path, os.path.realpath(path), hidden=False)
        else:
            raise RecipeError(f"'{place}' is a file; expected a folder or a .txt listing", where=self.where)

    def _walk(self, folder: str, real: str, above: tuple[str, ...]) -> None:
        """Adds the pictures in and below a folder. A folder reached before, by another way, counts as repeated."""
        if real in above:
            self.listing.left_out[CIRCLE] += 1
            return
        if real in self._walked:
            self.listing.repeated += self._walked[real]
            return
        if len(above) == DEEPEST:
            raise RecipeError(
                f"folders are nested deeper than {DEEPEST} levels: {shown(folder)[:80]}…", where=self.where
            )
        before = len(self.listing.pictures) + self.listing.repeated
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except OSError as error:
            reason = error.strerror or error
            raise RecipeError(f"folder '{shown(folder)}' cannot be read: {reason}", where=self.where) from error
        self._entries += len(listed)
        if self._entries > MOST_FILES:
            raise RecipeError(
                f"more than {MOST_FILES:,} files lie there", where=self.where, fix="name a folder of pictures"
            )
        below = []
        for entry in listed:
            link = entry.is_symlink()
            target = os.path.realpath(entry.path) if link else os.path.join(real, entry.name)
            hidden = entry.name.startswith(".")
            if _is_folder(entry):
                below += [] if hidden else [(entry.path, target)]
            elif not entry.name.startswith("._"):  # what macOS keeps beside a file on foreign disks
                self._add_file(entry.path, target, hidden=hidden)
        for path, target in sorted(below):
            self._walk(path, target, (*above, real))
        self._walked[real] = len(self.listing.pictures) + self.listing.repeated - before

    def _add_file(self, path: str, target: str, *, hidden: bool) -> None:
        """Adds one file, if it is a picture that can be used."""
        why = _unread(path)
        if why is None:
            return
        if target in self._seen:
            self.listing.repeated += not why
            return
        self._seen.add(target)
        if why == NO_SUFFIX and not os.path.exists(path):
            why = BROKEN
        why = why or (HIDDEN if hidden else _unusable(path))
        if why:
            self.listing.left_out[why] += 1
        else:
            self.listing.pictures.append(path)

    def _add_listing(self, listing: Path) -> None:
        """Adds the pictures that a .txt names, one a line, relative to its own folder or to the data set's."""
        problems = []
        for number, line in enumerate(read_text(listing, LISTING_LARGEST).splitlines(), 1):
            name = line.strip()
            if not name:
                continue
            places = (os.path.abspath(base / name) for base in (listing.parent, self.root))
            path = next(filter(None, map(self.folders.as_written, places)), None)
            if path is None or os.path.isdir(path):
                problems.append(Problem(f"picture '{name}' not found", f"{shown(listing)}:{number}"))
            else:
                self._add_file(path, os.path.realpath(path), hidden=False)
        if problems:
            raise RecipeError(shortened(problems))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _unread(path: str) -> str | None:
    """Returns "" for a picture that is read, None for what is no picture, else why a suffix is left out."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in PICTURES:
        return ""
    if suffix in COMPANIONS or os.path.basename(path).startswith("."):
        return None
    if not suffix:
        return NO_SUFFIX
    if suffix in UNREAD_PICTURES:
        return f"{suffix}, {UNREAD_PICTURES[suffix]}"
    known = re.fullmatch(r"\.[a-z0-9_]{1,16}", suffix)
    return f"{suffix}, which is not read" if known else "with a suffix that is not read"


def _unusable(path: str) -> str:
    """Returns why a file cannot be used, as far as its stat shows, or ""."""
    try:
        status = os.stat(path)
    except OSError:
        return BROKEN
    if not stat.S_ISREG(status.st_mode):
        return SPECIAL
    if status.st_size > MOST_BYTES:
        return LARGE
    return "" if os.access(path, os.R_OK) else DENIED


def _twins(pictures: Iterable[str], folders: Folders) -> list[str]:
    """Returns the pictures whose name differs from another's only in Unicode normalisation, and that have no label of
    their own: copies that were made on the way from one file system to another."""
    alike: dict[str, list[str]] = {}
    for path in pictures:
        if not path.isascii():
            alike.setdefault(normalize("NFC", path), []).append(path)
    twins = []
    for paths in alike.values():
        labelled = [path for path in paths if folders.holds(label_path(path))] if len(paths) > 1 else paths
        twins += [path for path in paths if path not in (labelled or paths[:1])]
    return twins


def shortened(problems: list[Problem]) -> list[Problem]:
    """Returns the first problems, and how many more there are."""
    rest = len(problems) - MOST_PROBLEMS
    return problems[:MOST_PROBLEMS] + ([Problem(f"and {rest} more problems of this kind")] if rest > 0 else [])
