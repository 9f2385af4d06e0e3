"""COCO's layout: a JSON of instances or of key points for each split, and a folder of pictures.

Objects become lines as Ultralytics' `convert_coco` (8.4) writes them, in full precision: the parts of a polygon joined,
masks traced, crowds and what has no extent left out. Classes are numbered by the names that a data.yaml or the model
gives, else in the order of the ids.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from edgecompile.data import layouts
from edgecompile.data.coco_document import Annotation, CocoPicture, Document, Id, read_document
from edgecompile.data.counts import listed
from edgecompile.data.data_file import DataFile
from edgecompile.data.label_lines import CheckedLabels, LabelFacts, LabelForm, LabelLines
from edgecompile.data.label_reading import LabelReading
from edgecompile.data.layouts import FoundLabels, ModelNames, Reader
from edgecompile.data.split_listing import Folders, Listing, list_files
from edgecompile.errors import Problem, RecipeError
from edgecompile.places import shown
from edgecompile.yaml_text import line_of

SPLITS = {"train": ("train",), "val": ("validation", "valid", "val"), "test": ("test",)}
"""Name of a split to what names of documents hold: instances_val2017.json, valid/_annotations.coco.json."""
PREFIXES = ("instances_", "person_keypoints_", "keypoints_", "annotations_")
BEGIN = 1 << 20
KEYS = (b'"annotations"', b'"categories"', b'"images"')
LOOKED_FOR = 50
"""Pictures of a document that are looked for to find their folder."""

CROWD = "crowds (iscrowd)"
NO_EXTENT = "without width or height"
UNLABELLED = "without a labelled key point"
UNNAMED = "of categories that are not among the classes"
BOXED = "without a polygon, whose box counts"

Outline = Callable[[Annotation], Sequence[float]]
"""Returns the corners x1 y1 x2 y2 ... of a polygon around an object, in pixels; none where it has no outline."""


class Layout(layouts.Layout):
    """COCO's JSON, named by a recipe or by the splits of a data.yaml."""

    name: ClassVar[str] = "coco"

    def claims(self, path: Path) -> bool:
        """Returns whether a path names a JSON that is not the JSON of a YOLO data.yaml."""
        if path.suffix.lower() != ".json" or not path.is_file():
            return False
        with path.open("rb") as stream:
            begin = stream.read(BEGIN)
        return b'"names"' not in begin or any(key in begin for key in KEYS)

    def read_data(self, path: Path, model_names: ModelNames) -> DataFile:
        """Takes the documents beside this one, named alike, for the other splits."""
        document = read_document(path)
        names = _numbered(tuple(_used(document).values()), model_names())
        splits = _beside(path)
        shape = (document.key_points, 3) if document.key_points else None
        return DataFile(path, path.parent, names, dict(splits), LabelFacts(len(names), shape))

    def holds(self, data: DataFile, split: str) -> bool:
        named = data.splits.get(split)
        return isinstance(named, str) and named.lower().endswith(".json")

    def list_split(self, data: DataFile, split: str, where: str, folders: Folders) -> Listing:
        document = self._document(data, split)
        folder = _folder(data, split, document, self.split_line(data, split), folders)
        inside = os.path.realpath(folder)
        paths, problems = {}, []
        for picture in document.pictures.values():
            path = os.path.join(folder, picture.name)
            real = os.path.realpath(path)
            if os.path.commonpath((inside, real)) != inside:
                message = f"'{picture.name}' is a link that leads out of the folder of pictures"
                problems.append(Problem(message, f"{shown(document.file)}:{picture.place}.file_name"))
            paths[path] = picture.name
        if problems:
            raise RecipeError(problems)
        listing = list_files(paths, self.split_line(data, split), folders)
        if not listing.pictures:
            message = f"split '{split}' is empty: {len(paths)} pictures are named; left out: {listed(listing.left_out)}"
            raise RecipeError(message, where=self.split_line(data, split))
        return listing

    def split_line(self, data: DataFile, split: str) -> str:
        line = 0 if data.file.suffix.lower() == ".json" else line_of(data.file, (split,))
        return f"{shown(data.file)}:{line}:{split}" if line else shown(_path(data, split))

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
        if reader.form is LabelForm.CLASS_NAME:
            message = f"'{reader.task}' needs pictures in folders of classes, not COCO's JSON"
            return FoundLabels(problems=[Problem(message, where)])
        document = self._document(data, split)
        keys = tuple(listing.keys[picture] for picture in pictures)
        classes = _classes(document, data.names)
        if not classes:
            some = ", ".join(list(document.categories.values())[:5])
            fix = f"classes: {', '.join(data.names[:5])}"
            return FoundLabels(problems=[Problem(f"no category ({some}) is among the classes", where, fix)])
        form = LabelForm.BOXES if reader.form is LabelForm.KEY_POINTS and not data.facts.kpt_shape else reader.form
        checked = _checked(document, keys, form, tuple(classes.items()), reader.check_lines)
        reading = LabelReading(
            kpt_shape=data.facts.kpt_shape,
            kpt_oks_sigmas=data.facts.kpt_oks_sigmas,
            layout=self.name,
            keys=keys,
            names=data.names,
            categories=_ids(classes, len(data.names)),
        )
        return FoundLabels(
            files=[str(document.file)],
            reading=reading,
            checked=checked.labels,
            notes=_notes(checked, document, data.names),
            problems=_shape_problems(document, data, where, reader.form),
        )

    def read_lines(self, files: Sequence[Path], reading: LabelReading, form: LabelForm) -> list[LabelLines]:
        from edgecompile.data.coco_outlines import outline

        if len(files) != 1:
            raise RecipeError(f"{len(files)} files of labels, expected one document")
        document = read_document(files[0])
        if unknown := [key for key in reading.keys if key not in document.pictures]:
            raise RecipeError(f"names no picture '{unknown[0]}'", where=shown(document.file))
        classes = _classes(document, reading.names)
        pictures = [document.pictures[key] for key in reading.keys]
        return [_lines(document, picture, form, classes, outline, Counter()) for picture in pictures]

    def _document(self, data: DataFile, split: str) -> Document:
        """Raises:
        RecipeError: there is no such document, or it is malformed.
        """
        path = _path(data, split)
        if not path.is_file():
            where = self.split_line(data, split)
            raise RecipeError(f"'{data.splits[split]}' not found (looked in {data.root})", where=where)
        return read_document(path)


def _path(data: DataFile, split: str) -> Path:
    return Path(os.path.abspath(data.root / os.path.expanduser(str(data.splits[split]))))


def _beside(path: Path) -> dict[str, str]:
    """Returns the documents of splits: the one given, and those of its name but for the name of the split."""
    for own, words in SPLITS.items():
        for word in words:
            for part in (path.name, path.parent.name):
                if re.search(rf"(?<![a-z]){word}(?![a-z])", part.lower()):
                    return _siblings(path, part, word) | {own: str(path)}
    return {"val": str(path)}


def _siblings(path: Path, part: str, word: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for split, others in SPLITS.items():
        for other in others:
            renamed = re.sub(rf"(?<![A-Za-z]){word}(?![A-Za-z])", other, part, flags=re.IGNORECASE)
            folder = path.parent if part == path.name else path.parent.with_name(renamed)
            candidate = folder / (renamed if part == path.name else path.name)
            if candidate != path and candidate.is_file():
                found.setdefault(split, str(candidate))
    return found


def _folder(data: DataFile, split: str, document: Document, where: str, folders: Folders) -> str:
    """Returns the folder in which most of a document's first pictures lie.

    Raises:
        RecipeError: none of them is found, or the folder that is stated is none.
    """
    stated = data.images.get(split, data.images.get(""))
    if stated is not None:
        folder = os.path.abspath(data.root / os.path.expanduser(stated))
        if not os.path.isdir(folder):
            raise RecipeError(f"'{stated}' is no folder (looked in {data.root})", where=f"{shown(data.file)}:images")
        return folder
    beside, stem = document.file.parent, document.file.stem
    for prefix in PREFIXES:
        stem = stem.removeprefix(prefix)
    near = (beside, beside / "images", beside / stem, beside / "images" / stem)
    above = (beside.parent / stem, beside.parent / "images" / stem, beside.parent / "images", beside.parent, data.root)
    candidates = list(dict.fromkeys(os.path.abspath(folder) for folder in (*near, *above)))
    names = [picture.name for picture in list(document.pictures.values())[:LOOKED_FOR]]
    held = {folder: sum(os.path.isfile(os.path.join(folder, name)) for name in names) for folder in candidates}
    if not names:
        raise RecipeError("names no picture", where=shown(document.file))
    best = max(candidates, key=lambda folder: held[folder])
    if not held[best]:
        looked = ", ".join(shown(folder) for folder in candidates[:6])
        message = f"no picture that it names is found (the first: {names[0][:80]}; looked in {looked})"
        fix = f"name their folder in a data.yaml: images: {{{split}: FOLDER}}, beside {split}: {document.file.name}"
        raise RecipeError(message, where=shown(document.file), fix=fix)
    return best


def _used(document: Document) -> dict[Id, str]:
    """Returns the categories, without the one that Roboflow adds above all others and gives no object."""
    categories = dict(document.categories)
    first = next(iter(categories))
    objects = (one.category for picture in document.pictures.values() for one in picture.objects)
    if len(categories) > 1 and document.parents.get(first) == "none" and first not in set(objects):
        above = {document.parents.get(number) for number in categories if number != first}
        if above == {categories[first]}:
            del categories[first]
    return categories


def _numbered(categories: Sequence[str], model_names: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the names of classes by number: the model's where it knows every category, else in their order."""
    names = tuple(categories)
    known = {_plain(name) for name in model_names or ()}
    return tuple(model_names) if model_names and all(_plain(name) in known for name in names) else names


def _classes(document: Document, names: Sequence[str]) -> dict[Id, int]:
    """Returns the number of each category's class; categories that are no classes have none."""
    exact = {name: number for number, name in reversed(list(enumerate(names)))}
    plain = {_plain(name): number for number, name in reversed(list(enumerate(names)))}
    found = {number: exact.get(name, plain.get(_plain(name))) for number, name in document.categories.items()}
    if len(set(document.categories.values())) < len(document.categories):
        used = _used(document)  # names that repeat say nothing: the order does, where nobody has named the classes
        if tuple(used.values()) == tuple(names):
            return {number: index for index, number in enumerate(used)}
    return {number: index for number, index in found.items() if index is not None}


def _ids(classes: Mapping[Id, int], count: int) -> tuple[int | None, ...]:
    """Returns the id of each class's category, the smallest where several are of one class; none at all where ids are
    no numbers, or those of the classes."""
    if not all(type(category) is int for category in classes):
        return ()
    ids: dict[int, int] = {}
    for category, number in classes.items():
        ids[number] = min(int(category), ids.get(number, int(category)))
    if all(number == category for number, category in ids.items()):
        return ()
    return tuple(ids.get(number) for number in range(count))


def _plain(name: str) -> str:
    return "".join(name.casefold().split())


@dataclass(frozen=True)
class _Checked:
    labels: tuple[CheckedLabels, ...]
    left_out: Mapping[str, int]


@lru_cache(maxsize=16)
def _checked(
    document: Document,
    keys: tuple[str, ...],
    form: LabelForm,
    classes: tuple[tuple[Id, int], ...],
    check: Callable[[LabelLines], CheckedLabels],
) -> _Checked:
    counts: Counter[str] = Counter()
    numbers = dict(classes)
    pictures = [document.pictures[key] for key in keys]
    labels = tuple(check(_lines(document, picture, form, numbers, extent, counts)) for picture in pictures)
    return _Checked(labels, counts)


def extent(annotation: Annotation) -> Sequence[float]:
    """Returns the corners of all parts of an object, which reach as far as the polygon around them: enough to check,
    and to count. Of a mask those of its box."""
    if annotation.runs is not None:
        return _around(annotation) if any(annotation.runs.lengths[1::2]) else ()
    return [value for part in annotation.parts for value in part]


def _lines(
    document: Document,
    picture: CocoPicture,
    form: LabelForm,
    classes: Mapping[Id, int],
    outline: Outline,
    left_out: Counter[str],
) -> LabelLines:
    """Returns the lines of a picture, and counts the objects that are left out."""
    lines = []
    for one in picture.objects:
        if why := _why_not(one, form, classes):
            left_out[why] += 1
            continue
        values = _values(one, picture, form, outline, left_out)
        lines.append((one.place, [float(classes[one.category]), *values]))
    return LabelLines(str(document.file), lines)


def _why_not(one: Annotation, form: LabelForm, classes: Mapping[Id, int]) -> str:
    """Returns why an object is left out, or ""."""
    if one.crowd:
        return CROWD
    if one.category not in classes:
        return UNNAMED
    if min(one.box[2:]) <= 0:
        return NO_EXTENT
    return UNLABELLED if form is LabelForm.KEY_POINTS and not any(one.key_points[2::3]) else ""


def _values(
    one: Annotation, picture: CocoPicture, form: LabelForm, outline: Outline, left_out: Counter[str]
) -> list[float]:
    """Returns what follows the class on an object's line."""
    width, height = picture.width, picture.height
    if form in (LabelForm.POLYGONS, LabelForm.CORNERS):
        corners = outline(one)
        if len(corners) < 6:
            left_out[BOXED] += 1
            corners = _around(one)
        return [value / (height if index % 2 else width) for index, value in enumerate(corners)]
    x, y, across, down = one.box
    box = [(x + across / 2) / width, (y + down / 2) / height, across / width, down / height]
    if form is LabelForm.BOXES:
        return box
    sides = (width, height, 1)
    return [*box, *(value / sides[index % 3] for index, value in enumerate(one.key_points))]


def _around(one: Annotation) -> list[float]:
    x, y, across, down = one.box
    return [x, y, x + across, y, x + across, y + down, x, y + down]


def _notes(checked: _Checked, document: Document, names: Sequence[str]) -> list[str]:
    """Returns what a person should know of objects that were left out."""
    counts = dict(checked.left_out)
    boxed = counts.pop(BOXED, 0)
    notes = [f"{sum(counts.values())} objects of {document.file.name} are left out: {listed(counts)}"] if counts else []
    if counts.get(UNNAMED):
        classes = _classes(document, names)
        unnamed = [name for number, name in document.categories.items() if number not in classes]
        notes.append(f"categories that are not among the classes: {', '.join(unnamed[:8])}")
    return [*notes, f"{boxed} objects of {document.file.name} are {BOXED}"] if boxed else notes


def _shape_problems(document: Document, data: DataFile, where: str, form: LabelForm) -> list[Problem]:
    """Returns the problem of key points that are not as many as the data.yaml says."""
    shape = data.facts.kpt_shape
    if form is not LabelForm.KEY_POINTS or shape is None or shape == (document.key_points, 3):
        return []
    found = f"{document.key_points} key points of 3 values" if document.key_points else "no key points"
    message = f"{document.file.name} has {found}, kpt_shape says {list(shape)}"
    return [Problem(message, where, f"kpt_shape: [{document.key_points}, 3]" if document.key_points else "")]
