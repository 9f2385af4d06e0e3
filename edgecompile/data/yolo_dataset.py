"""YOLO data sets on disk: the data.yaml, its splits, and the pictures that a split names. Reads no picture."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgecompile.errors import Problem, RecipeError, nearest
from edgecompile.places import shown
from edgecompile.yaml_text import check_data, line_of, read_text

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
"""Suffixes of files that count as pictures."""
NOT_TEXT = re.compile("[\ud800-\udfff]")
"""What stands in a path for bytes that are no UTF-8; such a name fits into no lock."""
MOST_PROBLEMS = 20
DATA_LARGEST = 1 << 20


@dataclass(frozen=True)
class DataFile:
    """A YOLO data.yaml: `root` is the folder to which the splits are relative, `names` the classes by number."""

    file: Path
    root: Path
    names: tuple[str, ...]
    splits: dict[str, Any]


def read_data(file: Path) -> DataFile:
    """Reads a YOLO data.yaml.

    Raises:
        RecipeError: it is not the YAML of a data set: `names` is missing, or not one name for each of 0, 1, 2, ...
    """
    text = read_text(file, DATA_LARGEST)
    check_data(text, file)
    content = yaml.safe_load(text) or {}
    problems: list[Problem] = []

    def wrong(message: str, key: str, fix: str = "") -> None:
        line = line_of(file, (key,))
        problems.append(Problem(message, f"{shown(file)}:{line}:{key}" if line else shown(file), fix))

    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        wrong("names no classes", "names", "names: {0: person, 1: car}")
        names = {}
    elif sorted(names, key=str) != sorted(range(len(names)), key=str):
        wrong(f"classes are numbered {_some(names)}, expected 0 to {len(names) - 1}, each once", "names")
    count = content.get("nc", len(names))
    if names and count != len(names):
        wrong(f"nc is {count}, but {len(names)} classes are named", "nc")
    root = content.get("path") or "."
    if not isinstance(root, str):
        wrong(f"found {root}, expected a folder", "path")
        root = "."
    if problems:
        raise RecipeError(problems)
    ordered = tuple(str(names[number]) for number in range(len(names)))
    splits = {key: value for key, value in content.items() if key not in ("names", "nc", "path", "download")}
    return DataFile(file, Path(os.path.abspath(file.parent / os.path.expanduser(root))), ordered, splits)


def pictures_of(data: DataFile, split: str, where: str) -> list[str]:
    """Returns the absolute paths of a split's pictures, sorted within each folder or listing, each once.

    Args:
        where: the key of the recipe that names the split, for messages.

    Raises:
        RecipeError: the split is missing, empty, or names what is not there.
    """
    places = data.splits.get(split)
    if places is None:
        there = [name for name, value in data.splits.items() if isinstance(value, str | list)]
        raise RecipeError(f"{shown(data.file)} has no split '{split}'", where=where, fix=nearest(split, there))
    line = f"{shown(data.file)}:{line_of(data.file, (split,))}:{split}"
    found: list[str] = []
    for place in places if isinstance(places, list) else [places]:
        if not isinstance(place, str):
            raise RecipeError(f"found {place}, expected a folder or a .txt listing", where=line)
        found += _pictures_in(data, place, line)
    if not found:
        raise RecipeError(
            f"split '{split}' is empty: no picture in {places}", where=line, fix=f"pictures end in {_some(PICTURES)}"
        )
    if strange := [path for path in found if NOT_TEXT.search(path)]:
        name = os.fsencode(strange[0]).decode(errors="backslashreplace")
        raise RecipeError(f"the name of picture '{name}' is not UTF-8", where=line, fix="rename it")
    return list(dict.fromkeys(found))


def _pictures_in(data: DataFile, place: str, where: str) -> list[str]:
    """Returns the pictures of one folder or listing of a split."""
    path = data.root / os.path.expanduser(place)
    if not path.exists() and place.startswith("../"):
        path = data.root / place[3:]  # as Roboflow writes it, and Ultralytics reads it
    path = Path(os.path.abspath(path))
    if path.is_dir():
        walk = ((folder, name) for folder, _, names in os.walk(path, followlinks=True) for name in names)
        return sorted(os.path.join(folder, name) for folder, name in walk if _is_picture(name))
    if path.is_file() and path.suffix == ".txt":
        return _listed(path, data.root)
    if path.is_file():
        raise RecipeError(f"'{place}' is a file; expected a folder or a .txt listing", where=where)
    raise RecipeError(f"'{place}' not found (looked in {data.root})", where=where, fix="check `path:` in it")


def _listed(listing: Path, root: Path) -> list[str]:
    """Returns the pictures that a .txt names, one a line, relative to its own folder or to the data set's."""
    found, problems = [], []
    for number, line in enumerate(read_text(listing, 64 << 20).splitlines(), 1):
        name = line.strip()
        if not name:
            continue
        path = next((one for one in (listing.parent / name, root / name) if one.is_file()), None)
        if path is None:
            problems.append(Problem(f"picture '{name}' not found", f"{shown(listing)}:{number}"))
        elif _is_picture(name):
            found.append(os.path.abspath(path))
    if problems:
        raise RecipeError(shortened(problems))
    return sorted(found)


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURES and not os.path.basename(name).startswith(".")


def _some(items: Iterable[Any]) -> str:
    names = [str(one) for one in sorted(items, key=str)]
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


def shortened(problems: list[Problem]) -> list[Problem]:
    """Returns the first problems, and how many more there are."""
    rest = len(problems) - MOST_PROBLEMS
    return problems[:MOST_PROBLEMS] + ([Problem(f"and {rest} more problems of this kind")] if rest > 0 else [])
