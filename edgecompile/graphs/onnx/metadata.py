"""What an exporter noted on an ONNX model, read as Ultralytics reads it."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

from edgecompile.errors import StepError
from edgecompile.evaluate.tasks import unfit

if TYPE_CHECKING:
    import onnx

LONGEST = 100_000
"""Characters of a note that are read; COCO's class names are 1,500."""

DATA_SET_NAMES = "passes.onnx_import.class_names=data takes those of the data set"


def notes_of(model: onnx.ModelProto) -> dict[str, str]:
    """Returns what is noted on a model, by key."""
    return {entry.key: entry.value for entry in model.metadata_props}


def literal(text: str) -> Any:
    """Returns the Python literal or the JSON that a note is written as; the note itself where it is neither."""
    for read in (ast.literal_eval, json.loads):
        try:
            return read(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
    return text


def class_names(notes: dict[str, str], file: str) -> list[str] | None:
    """Returns the class names that a file states, in the order of their numbers; None where it states none.

    As Ultralytics reads them: a list, or a mapping whose keys are numbers or their text, from 0 to one less than there
    are names.

    Raises:
        StepError: they are written otherwise. Any names in their place would be those of other classes.
    """
    text = notes.get("names", "").strip()
    if text in ("", "[]", "{}", "None"):
        return None
    names = literal(text) if len(text) <= LONGEST else None
    if isinstance(names, (list, tuple)):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or any(isinstance(name, (dict, list, tuple, set)) for name in names.values()):
        raise StepError(
            f"'{file}' states its class names as {_short(text)}, expected a list of names", fix=DATA_SET_NAMES
        )
    numbers = {_number(key): str(name) for key, name in names.items()}
    if numbers.keys() != set(range(len(names))):
        numbering = ", ".join(map(_short, map(str, list(names)[:4]))) + (", …" if len(names) > 4 else "")
        message = f"'{file}' numbers its classes {numbering}, expected 0 to {len(names) - 1}, each once"
        raise StepError(message, fix=DATA_SET_NAMES)
    return [numbers[number] for number in range(len(names))]


def require_task(notes: dict[str, str], file: str, task: str) -> None:
    """Demands that models of the task that a file states, if it states any, can be compiled for `task`.

    Raises:
        StepError: they cannot.
    """
    if reason := unfit(notes.get("task"), task, file):
        raise StepError(reason)


def coarsest_stride(notes: dict[str, str], file: str) -> int:
    """Returns the coarsest stride that a file states, a number or one for each feature map; 32 where it states none.

    Raises:
        StepError: it states something else.
    """
    value = literal(notes.get("stride", "32")[:LONGEST])
    strides = value if isinstance(value, (list, tuple)) and value else [value]
    if not all(
        isinstance(stride, (int, float)) and 1 <= stride <= 4096 and stride == int(stride) for stride in strides
    ):
        message = f"'{file}' states the stride {_short(repr(value))}, expected a whole number of pixels"
        raise StepError(message, fix="set passes.onnx_import.stride")
    return int(max(strides))


def _number(key: Any) -> int | None:
    """Returns the number that a key of a mapping of class names is, or its text; None where it is no number."""
    if isinstance(key, str) and key.strip().isascii() and key.strip().isdigit() and len(key) < 10:
        return int(key)
    return key if isinstance(key, int) and not isinstance(key, bool) else None


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
