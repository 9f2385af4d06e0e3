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
        StepError: they are written otherwise. Others in their place would be names of other classes.
    """
    text = notes.get("names", "").strip()
    if text in ("", "[]", "{}", "None"):
        return None
    said = literal(text) if len(text) <= LONGEST else None
    if isinstance(said, (list, tuple)):
        said = dict(enumerate(said))
    if not isinstance(said, dict) or any(isinstance(name, (dict, list, tuple, set)) for name in said.values()):
        raise StepError(
            f"'{file}' states its class names as {_short(text)}, expected a list of names", fix=DATA_SET_NAMES
        )
    numbers = {_number(key): str(name) for key, name in said.items()}
    if numbers.keys() != set(range(len(said))):
        found = ", ".join(map(_short, map(str, list(said)[:4]))) + (", …" if len(said) > 4 else "")
        message = f"'{file}' numbers its classes {found}, expected 0 to {len(said) - 1}, each once"
        raise StepError(message, fix=DATA_SET_NAMES)
    return [numbers[number] for number in range(len(said))]


def require_task(notes: dict[str, str], file: str, task: str) -> None:
    """Demands that a file states no other task than one whose models can be compiled for `task`.

    Raises:
        StepError: it does.
    """
    if reason := unfit(notes.get("task"), task, file):
        raise StepError(reason)


def coarsest_stride(notes: dict[str, str], file: str) -> int:
    """Returns the coarsest stride that a file states, a number or one for each feature map; 32 where it states none.

    Raises:
        StepError: it states something else.
    """
    said = literal(notes.get("stride", "32")[:LONGEST])
    stated = said if isinstance(said, (list, tuple)) and said else [said]
    if not all(isinstance(one, (int, float)) and 1 <= one <= 4096 and one == int(one) for one in stated):
        message = f"'{file}' states the stride {_short(repr(said))}, expected a whole number of pixels"
        raise StepError(message, fix="set passes.onnx_import.stride")
    return int(max(stated))


def _number(key: Any) -> int | None:
    """Returns the number that a key of a mapping of class names is, or its text; None where it is none."""
    if isinstance(key, str) and key.strip().isascii() and key.strip().isdigit() and len(key) < 10:
        return int(key)
    return key if isinstance(key, int) and not isinstance(key, bool) else None


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
