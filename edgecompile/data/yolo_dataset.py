"""YOLO data sets on disk: the data.yaml, its splits, and the pictures that a split names. Reads no picture."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from edgecompile.data.counts import listed
from edgecompile.data.data_file import DataFile
from edgecompile.data.label_lines import LabelFacts
from edgecompile.data.split_listing import Folders, Listing, list_pictures
from edgecompile.errors import Problem, RecipeError, nearest
from edgecompile.places import shown
from edgecompile.runtime.pictures import PICTURES
from edgecompile.yaml_text import check_data, line_of, read_text

DATA_LARGEST = 1 << 20
OTHER_FORMATS = {
    ".csv": "a table",
    ".gz": "an archive",
    ".ndjson": "a list of pictures for Ultralytics' platform",
    ".parquet": "a table",
    ".tar": "an archive",
    ".tgz": "an archive",
    ".txt": "a listing of pictures",
    ".xml": "a label file of Pascal VOC",
    ".zip": "an archive",
}
"""Suffixes of files in which data sets come and which are no data.yaml."""
COCO_KEYS = ("annotations", "categories", "images")
NO_SPLITS = ("names", "nc", "path", "download", "kpt_shape", "kpt_oks_sigmas", "flip_idx", "channels", "images")
"""Keys of a data.yaml that name no split."""
MOST_KEY_POINTS = 10_000


def read_data(file: Path) -> DataFile:
    """Reads a YOLO data.yaml.

    Raises:
        RecipeError: it is not the YAML of a data set: `names` is missing, or not one name for each of 0, 1, 2, ..., or
            `kpt_shape` or `kpt_oks_sigmas` means nothing.
    """
    if file.suffix.lower() in OTHER_FORMATS:
        message = f"is {OTHER_FORMATS[file.suffix.lower()]}, expected a YOLO data.yaml"
        raise RecipeError(message, where=shown(file), fix="name the .yaml with `names:` and the splits")
    _refuse_coco(file)
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
    shape = content.get("kpt_shape")
    if shape is not None and not _is_kpt_shape(shape):
        wrong(
            f"found {_brief(shape)}, expected the number of key points and 2 or 3 values of each: [17, 3]", "kpt_shape"
        )
        shape = None
    sigmas = content.get("kpt_oks_sigmas")
    if shape and sigmas and not _are_sigmas(sigmas, shape[0]):
        wrong(f"found {_brief(sigmas)}, expected {shape[0]} positive numbers, one a key point", "kpt_oks_sigmas")
    images = content.get("images") or {}
    images = {"": images} if isinstance(images, str) else images
    if not isinstance(images, dict) or not all(isinstance(folder, str) for folder in images.values()):
        wrong(
            "expected a folder of pictures, or one for each split", "images", "images: {train: train2017, val: val2017}"
        )
    if problems:
        raise RecipeError(problems)
    ordered = tuple(str(names[number]) for number in range(len(names)))
    facts = LabelFacts(
        len(ordered), tuple(shape) if shape else None, tuple(map(float, sigmas)) if shape and sigmas else None
    )
    splits = {key: value for key, value in content.items() if key not in NO_SPLITS}
    if "val" not in splits and "validation" in splits:
        splits["val"] = splits.pop("validation")  # as Ultralytics does
    return DataFile(file, Path(os.path.abspath(file.parent / os.path.expanduser(root))), ordered, splits, facts, images)


def _is_kpt_shape(value: Any) -> bool:
    whole = isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)
    return whole and 1 <= value[0] <= MOST_KEY_POINTS and value[1] in (2, 3)


def _are_sigmas(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(type(sigma) in (int, float) and math.isfinite(sigma) and sigma > 0 for sigma in value)
    )


def _refuse_coco(file: Path) -> None:
    """Refuses COCO's JSON, which is YAML too, of whatever size.

    Raises:
        RecipeError: it holds annotations.
    """
    try:
        with file.open("rb") as stream:
            begin = stream.read(DATA_LARGEST).lstrip()
    except OSError:
        return  # the caller reads the file and reports why
    if begin.startswith((b"{", b"[")) and sum(f'"{key}"'.encode() in begin for key in COCO_KEYS) > 1:
        fix = "give it the suffix .json"
        raise RecipeError("is COCO's JSON, expected a YOLO data.yaml", where=shown(file), fix=fix)


def list_split(data: DataFile, split: str, where: str, folders: Folders) -> Listing:
    """Lists the pictures of a split.

    Args:
        where: the key of the recipe that names the split, for messages.
        folders: what is known of folders already.

    Raises:
        RecipeError: the split is missing, empty, or names what is not there.
    """
    named = data.splits.get(split)
    if named is None:
        names = [name for name, value in data.splits.items() if isinstance(value, str | list)]
        raise RecipeError(f"{shown(data.file)} has no split '{split}'", where=where, fix=nearest(split, names))
    line = split_line(data, split)
    items = named if isinstance(named, list) else [named]
    places = [place for place in items if isinstance(place, str)]
    if strange := [place for place in items if not isinstance(place, str)]:
        raise RecipeError(f"found {strange[0]}, expected a folder or a .txt listing", where=line)
    listing = list_pictures(data.root, places, line, folders)
    if not listing.pictures:
        left_out = f"; left out: {listed(listing.left_out)}" if listing.left_out else ""
        fix = f"pictures end in {' '.join(PICTURES)}"
        raise RecipeError(f"split '{split}' is empty: no picture in {', '.join(places)}{left_out}", where=line, fix=fix)
    return listing


def split_line(data: DataFile, split: str) -> str:
    """Returns file, line and key of a split, for messages."""
    return f"{shown(data.file)}:{line_of(data.file, (split,))}:{split}"


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _some(items: Iterable[Any]) -> str:
    names = [str(item) for item in sorted(items, key=str)]
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
