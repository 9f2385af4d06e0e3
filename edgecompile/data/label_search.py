"""Finds the label files of pictures where Ultralytics looks for them, and reports files of their names elsewhere."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgecompile.data.split_listing import Folders
from edgecompile.data.yolo_labels import label_path

OTHER_LABELS = {".txt": "text files", ".TXT": "files with .TXT", ".xml": "Pascal VOC files", ".json": "JSON files"}
"""Suffixes of files that may hold the labels of a picture, elsewhere or in another format, and their names."""
MOST_FOLDERS = 3


@dataclass(frozen=True)
class LabelFile:
    """Where the labels of a picture are looked for, whether a file is there, and whether its name is `renamed`: the
    picture's in another Unicode normalisation."""

    path: str
    exists: bool
    renamed: bool = False


@dataclass(frozen=True)
class LabelFiles:
    """The label files of pictures, in the order of the pictures.

    Attributes:
        root: folder of the data set; messages name paths below it.
    """

    pictures: Sequence[str]
    files: Sequence[LabelFile]
    folders: Folders
    root: str

    @cached_property
    def missing(self) -> list[tuple[str, LabelFile]]:
        """Pictures without a label file, and where that is looked for."""
        return [(picture, file) for picture, file in zip(self.pictures, self.files, strict=True) if not file.exists]

    @property
    def renamed(self) -> int:
        return sum(file.renamed for file in self.files)

    def missing_line(self) -> str:
        """Returns how many pictures have no label file, where the first is looked for, and where files of their names
        lie."""
        count, (_, first) = len(self.missing), self.missing[0]
        have = "has" if count == 1 else "have"
        line = f"{count} of {len(self.pictures)} validation pictures {have} no label file where it is looked for"
        line = f"{line} (the first: {self.below_root(first.path)})"
        return "; ".join([line, *self.elsewhere()])

    def none_line(self, names: Sequence[str]) -> str:
        """Returns that no picture has labels, where they are looked for, and what the data set may be instead."""
        line = f"none of {len(self.pictures)} pictures has labels; expected {self.files[0].path}"
        classes = {os.path.basename(os.path.dirname(picture)) for picture in self.pictures}
        if classes <= set(names):
            return f"{line}; folders are named as classes, as data sets for classification have them"
        return "; ".join([line, *self.elsewhere()])

    def bare_folders(self) -> list[str]:
        """Returns a line for each folder none of whose pictures has a label file, where others have."""
        all_of = Counter(os.path.dirname(picture) for picture in self.pictures)
        missing = Counter(os.path.dirname(picture) for picture, _ in self.missing)
        bare = [folder for folder, count in missing.items() if count == all_of[folder]]
        if len(bare) == len(all_of):
            return []
        lines = [
            f"no picture in '{self.below_root(folder)}' has a label file ({missing[folder]} pictures)"
            for folder in bare
        ]
        more = len(lines) - MOST_FOLDERS
        return lines[:MOST_FOLDERS] + ([f"nor has any picture in {more} other folders"] if more > 0 else [])

    def elsewhere(self) -> list[str]:
        """Returns lines on files of the pictures' names that may hold their labels, by folder and suffix."""
        places: Counter[tuple[str, str]] = Counter()
        for picture, file in self.missing:
            places.update(_others(picture, file.path, self.folders))
        lines = []
        for (folder, suffix), count in places.most_common(MOST_FOLDERS):
            beside = folder in {os.path.dirname(picture) for picture, _ in self.missing}
            place = (
                f"beside the pictures in '{self.below_root(folder)}'" if beside else f"in '{self.below_root(folder)}'"
            )
            names = "its name" if count == 1 else "their names"
            lines.append(f"{OTHER_LABELS[suffix]} of {names} lie {place} ({count})")
        return lines

    def below_root(self, path: str) -> str:
        """Returns a path as the data.yaml would write it; only its last part where it lies elsewhere."""
        relative = os.path.relpath(path, self.root)
        return os.path.basename(path) if relative.startswith("..") else relative


def find_label_files(pictures: Sequence[str], resolved: Mapping[str, str], folders: Folders, root: str) -> LabelFiles:
    """Finds the label files of pictures.

    Args:
        resolved: for pictures in a place that is a link, the path through what the link leads to; see `Listing`.
    """
    return LabelFiles(pictures, [_find(picture, resolved.get(picture), folders) for picture in pictures], folders, root)


def _find(picture: str, resolved: str | None, folders: Folders) -> LabelFile:
    expected = [label_path(path) for path in (resolved, picture) if path]
    for path in expected:
        if folders.holds(path):
            return LabelFile(path, True)
    for path in expected:
        if (written := folders.as_written(path)) is not None:
            return LabelFile(written, True, renamed=True)
    return LabelFile(expected[0], False)


def _others(picture: str, expected: str, folders: Folders) -> set[tuple[str, str]]:
    """Returns folder and suffix of each file of a picture's name that may hold its labels."""
    folder, stem = os.path.dirname(picture), os.path.splitext(os.path.basename(picture))[0]
    around = os.path.dirname(folder)
    label_folder = os.path.dirname(expected)
    near = {folder, label_folder, os.path.dirname(label_folder)}
    near |= {
        os.path.join(parent, name) for parent in (folder, around) for name in ("labels", "annotations", "Annotations")
    }
    candidates = (
        (place, suffix) for place in near for suffix in OTHER_LABELS if f"{stem}{suffix}" in folders.names(place)
    )
    return {(place, suffix) for place, suffix in candidates if os.path.join(place, f"{stem}{suffix}") != expected}
