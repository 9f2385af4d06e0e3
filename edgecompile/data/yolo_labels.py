"""YOLO label files: where the file of a picture lies, and the lines that it holds."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edgecompile.data.label_lines import LabelLines
from edgecompile.errors import RecipeError
from edgecompile.places import shown

LARGEST = 64 << 20
"""Bytes of a label file: about a million objects."""


def label_path(picture: str) -> str:
    """Returns the label file of a picture: the last folder named `images` becomes `labels`, the suffix `.txt`."""
    before, between, after = picture.rpartition(f"{os.sep}images{os.sep}")
    moved = f"{before}{os.sep}labels{os.sep}{after}" if between else picture
    return os.path.splitext(moved)[0] + ".txt"


def read_lines(file: str | Path) -> LabelLines:
    """Returns the lines of a label file that hold something; none where there is no file.

    Raises:
        RecipeError: it cannot be read, or is no text.
    """
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            fault = "is not a regular file" if status.st_size <= LARGEST else f"is larger than {LARGEST >> 20} MiB"
            raise RecipeError(f"a label file that {fault} is not read", where=shown(file))
        with open(file, encoding="utf-8-sig") as stream:
            text = stream.read()
    except FileNotFoundError:
        return LabelLines(str(file))
    except UnicodeDecodeError:
        raise RecipeError("labels are not UTF-8 text", where=shown(file)) from None
    except OSError as error:
        raise RecipeError(f"labels cannot be read: {error.strerror or error}", where=shown(file)) from error
    lines = [(number, fields) for number, line in enumerate(text.splitlines(), 1) if (fields := line.split())]
    return LabelLines(str(file), lines)
