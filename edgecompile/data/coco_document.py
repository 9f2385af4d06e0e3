"""COCO's JSON: pictures, categories and objects, each entry checked, and the path in the JSON of what is wrong.

Whatever an entry holds that is not needed stays unread. Needs no array library: `plan` reads the document.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from edgecompile.data.split_listing import NOT_TEXT, shortened
from edgecompile.errors import Problem, RecipeError
from edgecompile.places import shown

LARGEST = 512 << 20
"""Bytes of a document: instances_train2017.json of COCO has 448 MB."""
LONGEST_SIDE = 1 << 20
MOST_PIXELS = 1 << 26
"""Of a mask that is coded by runs."""
MOST_KEY_POINTS = 10_000
MOST_CATEGORIES = 100_000
LONGEST_NAME = 4096

Id = int | str
T = TypeVar("T")


@dataclass(frozen=True)
class Runs:
    """A mask by the lengths of its runs, down each column in turn: of 0, of 1, of 0, ..."""

    height: int
    width: int
    lengths: Sequence[int]


@dataclass(frozen=True)
class Annotation:
    """One object, in pixels.

    Attributes:
        place: its path in the JSON.
        box: x, y of the corner nearest to the origin, width, height.
        parts: corners x1 y1 x2 y2 ... of each polygon around a part of it; none where there is no polygon.
        runs: its mask, where that is coded by runs.
        key_points: x y visibility of each; none where there are none.
    """

    place: str
    category: Id
    box: tuple[float, float, float, float]
    crowd: bool
    parts: Sequence[Sequence[float]] = ()
    runs: Runs | None = None
    key_points: Sequence[float] = ()


@dataclass(frozen=True)
class CocoPicture:
    """A picture: its name below the folder of pictures, and its size in pixels."""

    place: str
    name: str
    width: int
    height: int
    objects: list[Annotation] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Document:
    """A document of instances or of key points.

    Attributes:
        pictures: by name, in the order of the document.
        categories: id to name, in the order of the ids.
        parents: id to the name of the category above, where it is stated.
        key_points: how many an object has; None where no category has any.
    """

    file: Path
    pictures: Mapping[str, CocoPicture]
    categories: Mapping[Id, str]
    parents: Mapping[Id, str]
    key_points: int | None


def read_document(file: Path) -> Document:
    """Reads a document; one that was read before and has not changed since is not read again.

    Raises:
        RecipeError: it is no JSON, too large, or an entry is malformed, with a problem for each of the first of these.
    """
    try:
        status = os.stat(file)
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror or error}", where=shown(file)) from error
    if not os.path.isfile(file):
        raise RecipeError("is no regular file", where=shown(file))
    if status.st_size > LARGEST:
        raise RecipeError(f"is larger than {LARGEST >> 20} MiB", where=shown(file), fix="split it")
    return _read(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _read(file: Path, _changed: int, _size: int) -> Document:
    content = _loaded(file)
    reader = _Reader(file)
    document = reader.document(content)
    if reader.problems:
        raise RecipeError(shortened(reader.problems))
    return document


def _loaded(file: Path) -> Any:
    """Returns what the JSON holds.

    Raises:
        RecipeError: it is no JSON.
    """

    def no_number(text: str) -> NoReturn:
        raise ValueError(f"{text} is no number of JSON")

    try:
        text = file.read_bytes().decode("utf-8-sig")
        return json.loads(text, parse_constant=no_number)
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror or error}", where=shown(file)) from error
    except UnicodeDecodeError:
        raise RecipeError("is not UTF-8 text", where=shown(file)) from None
    except json.JSONDecodeError as error:
        raise RecipeError(f"is not JSON: {error.msg}", where=f"{shown(file)}:{error.lineno}") from None
    except RecursionError:
        raise RecipeError("is nested too deeply", where=shown(file)) from None
    except ValueError as error:  # of a number with too many digits, too
        raise RecipeError(f"is not JSON: {str(error)[:80]}", where=shown(file)) from None


Entry = Mapping[str, Any]
"""An object of the document, before anything in it is known to be what it should."""


class _Malformed(Exception):
    """What is wrong with an entry, and its path in the JSON."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(message)
        self.place = place


class _Reader:
    """Reads the entries of one document, and collects what is wrong with them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def document(self, content: Any) -> Document:
        if not isinstance(content, dict) or not isinstance(content.get("images"), list):
            message = "is not COCO's JSON: expected an object with the lists images, annotations and categories"
            raise RecipeError(message, where=shown(self.file))
        pictures = dict(self.each(content, "images", _picture))
        self.refuse_repeated((picture.place, "file_name", picture.name) for picture in pictures.values())
        categories = dict(self.each(content, "categories", _category))
        counts = {count for _, count, _ in categories.values() if count}
        if len(counts) > 1:
            self.wrong("categories", f"objects have {' or '.join(map(str, sorted(counts)))} key points, expected one")
        if not categories and not self.problems:
            self.wrong("categories", "names no category")
        key_points = counts.pop() if len(counts) == 1 else None
        for annotation, image in self.each(
            content, "annotations", lambda place, entry: _annotation(place, entry, pictures, categories, key_points)
        ):
            pictures[image].objects.append(annotation)
        ordered = sorted(categories, key=lambda number: (isinstance(number, str), number))
        return Document(
            self.file,
            {picture.name: picture for picture in pictures.values()},
            {number: categories[number][0] for number in ordered},
            {number: categories[number][2] for number in ordered},
            key_points,
        )

    def each(self, content: Entry, key: str, read: Callable[[str, Any], T]) -> Iterator[T]:
        """Yields what the entries of a list are; what is wrong with one is noted. An entry that states an id that
        another has is wrong."""
        entries = content.get(key)
        if not isinstance(entries, list):
            self.wrong(key, "is missing, expected a list" if entries is None else "expected a list")
            return
        seen: dict[Id, int] = {}
        for number, entry in enumerate(entries):
            try:
                if not isinstance(entry, dict):
                    raise _Malformed(f"{key}[{number}]", f"found {_brief(entry)}, expected an object")
                item = read(f"{key}[{number}]", entry)
                if key != "annotations" and (first := seen.setdefault(entry["id"], number)) != number:
                    raise _Malformed(f"{key}[{number}].id", f"{_brief(entry['id'])} is that of {key}[{first}] too")
            except _Malformed as error:
                self.wrong(error.place, str(error))
            else:
                yield item

    def refuse_repeated(self, names: Iterator[tuple[str, str, str]]) -> None:
        seen: dict[str, str] = {}
        for place, key, name in names:
            if (first := seen.setdefault(name, place)) != place:
                self.wrong(f"{place}.{key}", f"{_brief(name)} is that of {first} too")

    def wrong(self, place: str, message: str) -> None:
        self.problems.append(Problem(message, f"{shown(self.file)}:{place}"))


def _picture(place: str, entry: Entry) -> tuple[Id, CocoPicture]:
    name = entry.get("file_name")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or NOT_TEXT.search(name) or "\0" in name:
        raise _Malformed(f"{place}.file_name", f"found {_brief(name)}, expected the name of a file")
    if os.path.isabs(name) or ".." in Path(name).parts or not Path(name).parts:
        raise _Malformed(f"{place}.file_name", f"{_brief(name)} leads out of the folder of pictures")
    width, height = (_whole(place, entry, side, 1, LONGEST_SIDE) for side in ("width", "height"))
    return _id(place, entry, "id"), CocoPicture(place, os.path.normpath(name), width, height)


def _category(place: str, entry: Entry) -> tuple[Id, tuple[str, int, str]]:
    name = entry.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or NOT_TEXT.search(name):
        raise _Malformed(f"{place}.name", f"found {_brief(name)}, expected a name")
    points = entry.get("keypoints") or []
    if not isinstance(points, list) or len(points) > MOST_KEY_POINTS:
        raise _Malformed(f"{place}.keypoints", f"found {_brief(points)}, expected the names of key points")
    return _id(place, entry, "id"), (name, len(points), str(entry.get("supercategory", ""))[:LONGEST_NAME])


def _annotation(
    place: str,
    entry: Entry,
    pictures: Mapping[Id, CocoPicture],
    categories: Mapping[Id, Any],
    key_points: int | None,
) -> tuple[Annotation, Id]:
    image = _known(place, entry, "image_id", pictures, "images")
    category = _known(place, entry, "category_id", categories, "categories")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise _Malformed(f"{place}.iscrowd", f"found {_brief(crowd)}, expected 0 or 1")
    box = _numbers(f"{place}.bbox", entry.get("bbox"))
    if len(box) != 4 or min(box[2:]) < 0:
        raise _Malformed(f"{place}.bbox", f"found {_brief(entry['bbox'])}, expected x, y, width, height in pixels")
    parts, runs = _outline(f"{place}.segmentation", entry.get("segmentation"), pictures[image], crowd=bool(crowd))
    points = _key_points(f"{place}.keypoints", entry.get("keypoints"), key_points)
    x, y, width, height = box
    return Annotation(place, category, (x, y, width, height), bool(crowd), parts, runs, points), image


def _outline(
    place: str, value: Any, picture: CocoPicture, *, crowd: bool
) -> tuple[Sequence[Sequence[float]], Runs | None]:
    """Returns the polygons of an object, or its mask. A polygon of less than three points is none."""
    if crowd or value is None or value == []:
        return (), None
    if isinstance(value, dict):
        return (), _runs(place, value, picture)
    if not isinstance(value, list):
        raise _Malformed(place, f"found {_brief(value)}, expected polygons or runs")
    parts = [_numbers(f"{place}[{number}]", part) for number, part in enumerate(value)]
    if odd := [number for number, part in enumerate(parts) if len(part) % 2]:
        raise _Malformed(f"{place}[{odd[0]}]", f"found {len(parts[odd[0]])} values, expected pairs x, y")
    return [part for part in parts if len(part) >= 6], None


def _runs(place: str, value: Entry, picture: CocoPicture) -> Runs:
    if value.get("size") != [picture.height, picture.width]:
        expected = f"[{picture.height}, {picture.width}], the picture's height and width"
        raise _Malformed(f"{place}.size", f"found {_brief(value.get('size'))}, expected {expected}")
    pixels = picture.height * picture.width
    if pixels > MOST_PIXELS:
        raise _Malformed(f"{place}.size", f"{pixels:,} pixels, expected {MOST_PIXELS:,} at most")
    counts = value.get("counts")
    if isinstance(counts, str):
        counts = _unpacked(f"{place}.counts", counts, pixels)
    if not isinstance(counts, list) or any(type(count) is not int or count < 0 for count in counts):
        raise _Malformed(f"{place}.counts", f"found {_brief(counts)}, expected the lengths of runs")
    if sum(counts) != pixels:
        raise _Malformed(f"{place}.counts", f"runs of {sum(counts)} pixels, expected {pixels}")
    return Runs(picture.height, picture.width, counts)


def _unpacked(place: str, text: str, most: int) -> list[int]:
    """Returns lengths that are packed five bits a character, those from the fourth on as differences to the one two
    before."""
    lengths: list[int] = []
    at = 0
    while at < len(text):
        value = shift = 0
        more = True
        while more:
            bits = ord(text[at]) - 48 if at < len(text) else -1
            if not 0 <= bits < 64 or shift > 60:
                raise _Malformed(place, f"cannot be unpacked at character {at}")
            value |= (bits & 31) << shift
            shift += 5
            more = bool(bits & 32)
            at += 1
        if bits & 16:
            value -= 1 << shift
        if len(lengths) > 2:
            value += lengths[-2]
        if not 0 <= value <= most:
            raise _Malformed(place, f"a run of {value} pixels before character {at}")
        lengths.append(value)
    return lengths


def _key_points(place: str, value: Any, count: int | None) -> Sequence[float]:
    if value is None or value == []:
        return ()
    points = _numbers(place, value)
    if count is None:
        raise _Malformed(place, "no category names key points")
    if len(points) != 3 * count:
        raise _Malformed(place, f"found {len(points)} values, expected {3 * count}: x, y, visibility of {count} points")
    return points


def _id(place: str, entry: Entry, key: str) -> Id:
    value = entry.get(key)
    if type(value) is not int and not (isinstance(value, str) and len(value) <= LONGEST_NAME):
        raise _Malformed(f"{place}.{key}", f"found {_brief(value)}, expected a number")
    return value


def _known(place: str, entry: Entry, key: str, among: Mapping[Id, Any], of: str) -> Id:
    value = _id(place, entry, key)
    if value not in among:
        raise _Malformed(f"{place}.{key}", f"{_brief(value)} is the id of none of {of}")
    return value


def _whole(place: str, entry: Entry, key: str, least: int, most: int) -> int:
    value = entry.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise _Malformed(f"{place}.{key}", f"found {_brief(value)}, expected {least} to {most} pixels")
    return value


def _numbers(place: str, value: Any) -> list[float]:
    """Returns a list of finite numbers."""
    if not isinstance(value, list):
        raise _Malformed(place, f"found {_brief(value)}, expected a list of numbers")
    for number in value:
        if type(number) not in (int, float) or not -LONGEST_SIDE <= number <= LONGEST_SIDE or math.isnan(number):
            raise _Malformed(place, f"found {_brief(number)}, expected pixels")
    return value


def _brief(value: Any) -> str:
    """Returns a value as JSON writes it, shortened."""
    if isinstance(value, list | dict) and len(value) > 8:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)} entries"
    text = json.dumps(value, ensure_ascii=True) if not isinstance(value, int) or abs(value) < 1 << 64 else "a number"
    return text if len(text) <= 60 else f"{text[:60]}…"
