"""Folders of classes: a folder for each split, in it one for each class, whose name is the class of its pictures.

As Ultralytics reads them (`ultralytics.data.dataset.ClassificationDataset`, 8.4): with all folders below, links
followed. Classes meet those of the model by their names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from edgecompile.data import layouts
from edgecompile.data.counts import listed
from edgecompile.data.data_file import DataFile
from edgecompile.data.label_lines import LabelFacts, LabelForm, LabelLines
from edgecompile.data.label_reading import LabelReading
from edgecompile.data.layouts import FoundLabels, ModelNames, Reader
from edgecompile.data.split_listing import NOT_TEXT, Folders, Listing, is_picture, list_pictures
from edgecompile.errors import Problem, RecipeError, nearest
from edgecompile.places import shown
from edgecompile.runtime.pictures import PICTURES

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""Name of a split to the names that its folder may have; as in Ultralytics, but for `valid`, which Roboflow writes."""
OTHER_FOLDERS = ("images", "labels", "annotations")
"""Folders in a split that are no classes."""
MOST_CLASSES = 100_000
OUTSIDE = "outside of the folders of classes"


class Layout(layouts.Layout):
    """Pictures in folders of classes."""

    name: ClassVar[str] = "folders"

    def claims(self, path: Path) -> bool:
        """Returns whether a folder has no data.yaml, and folders of pictures where classes have theirs."""
        if not path.is_dir() or any(path.glob("*.yaml")):
            return False
        if found := _splits(path):
            return any(_classes(path / name) for name in found.values())
        return any(_holds_pictures(path / name) for name in _classes(path))

    def read_data(self, path: Path, model_names: ModelNames) -> DataFile:
        found = _splits(path)
        if not found:
            fix = "move them into train/ and val/: a tenth to a fifth of the pictures of each class into val/"
            raise RecipeError("has folders of classes and no train/ and val/ above them", where=shown(path), fix=fix)
        first = found.get("train") or next(iter(found.values()))
        names = _classes(path / first)
        if strange := [name for name in names if NOT_TEXT.search(name)]:
            name = os.fsencode(strange[0]).decode(errors="backslashreplace")
            raise RecipeError(f"the name of class '{name}' is not UTF-8", where=shown(path), fix="rename it")
        if not 0 < len(names) <= MOST_CLASSES:
            raise RecipeError(f"{first}/ has {len(names)} folders of classes", where=shown(path))
        known = model_names() or ()
        ordered = tuple(known) if set(names) <= set(known) else tuple(names)
        return DataFile(path, path, ordered, dict(found), LabelFacts(len(ordered)))

    def holds(self, data: DataFile, split: str) -> bool:
        return data.file.is_dir()

    def list_split(self, data: DataFile, split: str, where: str, folders: Folders) -> Listing:
        folder = self._folder(data, split, where)
        classes = [os.path.join(folder, name) for name in _classes(Path(folder))]
        listing = list_pictures(data.root, classes, self.split_line(data, split), folders)
        if outside := sum(map(is_picture, folders.names(folder))):
            listing.left_out[OUTSIDE] += outside
        if not listing.pictures:
            left_out = f"; left out: {listed(listing.left_out)}" if listing.left_out else ""
            message = f"split '{split}' is empty: no picture in the folders of {os.path.basename(folder)}/{left_out}"
            raise RecipeError(message, where=self.split_line(data, split), fix=f"pictures end in {' '.join(PICTURES)}")
        return listing

    def split_line(self, data: DataFile, split: str) -> str:
        return shown(data.root / str(data.splits.get(split, split)))

    def find_labels(
        self,
        data: DataFile,
        split: str,
        listing: Listing,
        pictures: Sequence[str],
        reader: Reader,
        folders: Folders,
    ) -> FoundLabels:
        where = self.split_line(data, split)
        if reader.form is not LabelForm.CLASS_NAME:
            message = (
                f"it has folders of classes, as data sets for classification have, not the labels of '{reader.task}'"
            )
            return FoundLabels(problems=[Problem(message, where, "name a data.yaml, or weights that classify")])
        root = os.path.join(data.root, str(data.splits[split]))
        names = [os.path.relpath(picture, root).split(os.sep)[0] for picture in pictures]
        new = set(names) - set(data.names)
        count = sum(name in new for name in names)
        pictures_of = "1 picture" if count == 1 else f"{count} pictures"
        note = (
            f"split '{split}' has {pictures_of} in folders that are none of the classes: {', '.join(sorted(new)[:5])}"
        )
        reading = LabelReading(layout=self.name, keys=tuple(names))
        lines = self.read_lines((), reading, reader.form)
        return FoundLabels(
            reading=reading, checked=[reader.check_lines(one) for one in lines], notes=[note] if new else []
        )

    def read_lines(self, files: Sequence[Path], reading: LabelReading, form: LabelForm) -> list[LabelLines]:
        return [LabelLines(name, [(1, [name])]) for name in reading.keys]

    def _folder(self, data: DataFile, split: str, where: str) -> str:
        """Raises:
        RecipeError: there is no such split.
        """
        name = data.splits.get(split)
        if not isinstance(name, str):
            fix = nearest(split, list(data.splits))
            raise RecipeError(f"{shown(data.root)} has no folder of the split '{split}'", where=where, fix=fix)
        return os.path.join(data.root, name)


def _splits(path: Path) -> dict[str, str]:
    """Returns the splits that have a folder, and its name."""
    found = {}
    for split, names in SPLITS.items():
        if name := next((name for name in names if (path / name).is_dir()), None):
            found[split] = name
    return found


def _classes(folder: Path) -> list[str]:
    """Returns the names of the folders of classes of a split, sorted; none where these are other folders."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return []
    return [] if any(name in OTHER_FOLDERS for name in names) else names


def _holds_pictures(folder: Path) -> bool:
    try:
        return any(map(is_picture, os.listdir(folder)))
    except OSError:
        return False
