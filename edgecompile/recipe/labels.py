"""Checks YOLO label files without numpy, so that `plan` can tell a malformed line before anything runs.

The rules are those of Ultralytics (`ultralytics.data.utils.verify_image_label`, 8.4), which drops a picture whose
labels break them; here they are errors, because a validation set that shrinks silently proves nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from edgecompile.errors import Problem
from edgecompile.recipe.places import shown

TOLERANCE = 0.01
"""How far a coordinate may lie outside the picture, as a share of its side."""


def label_path(picture: str) -> str:
    """Returns the label file of a picture: the last folder named `images` becomes `labels`, the suffix `.txt`."""
    before, between, after = picture.rpartition(f"{os.sep}images{os.sep}")
    moved = f"{before}{os.sep}labels{os.sep}{after}" if between else picture
    return os.path.splitext(moved)[0] + ".txt"


def check_labels(file: Path, classes: int) -> Iterator[Problem]:
    """Yields a problem, with `file:line`, for each malformed line. A missing file is a picture without objects.

    A line is `class x y width height` (centre and size, as shares of the picture) or `class x1 y1 x2 y2 x3 y3 ...` (a
    polygon, whose box counts); one file holds lines of one form.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        yield Problem("labels are not UTF-8 text", shown(file))
        return
    except OSError as error:
        yield Problem(f"labels cannot be read: {error.strerror or error}", shown(file))
        return
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    polygons = any(len(fields) > 6 for _, fields in lines)
    for number, fields in lines:
        fault = _fault(fields, classes, polygons)
        if fault:
            yield Problem(fault, f"{shown(file)}:{number}")


def _fault(fields: list[str], classes: int, polygon: bool) -> str:
    """Returns what is wrong with the values of one line, or ""."""
    if polygon and (len(fields) < 7 or len(fields) % 2 == 0):
        return f"found {len(fields)} values, expected a class and at least three points, as on the file's other lines"
    if not polygon and len(fields) != 5:
        return f"found {len(fields)} values, expected 5: class x y width height"
    try:
        values = [float(one) for one in fields]
    except ValueError:
        return f"found '{' '.join(fields)[:60]}', expected numbers"
    if not values[0].is_integer() or not 0 <= values[0] < classes:
        return f"found class {fields[0]}, expected 0 to {classes - 1}"
    for value in values[1:]:
        if not (math.isfinite(value) and -TOLERANCE <= value <= 1 + TOLERANCE):
            return f"found the coordinate {value:g}, expected a share of the picture's side, 0 to 1"
    if not polygon and min(values[3:]) < 0:
        return f"found the size {min(values[3:]):g}, expected one from 0 to 1"
    return ""
