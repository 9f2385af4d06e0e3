"""How predictions are written: a table for people, JSON, or a COCO results list. Results go out picture by picture."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from edgecompile.errors import InputError
from edgecompile.json_types import JsonObject
from edgecompile.text import escape, to_json

if TYPE_CHECKING:
    from edgecompile.runtime.feed import Shot
    from edgecompile.runtime.predictor import Predictor

FORMATS = ("table", "json", "jsonl", "coco")
AS_THEY_COME = ("table", "jsonl")
"""Formats whose results stand by themselves, and so go out while more are predicted."""


@contextmanager
def opened(out: Path | None, *, whole: bool, at_once: bool = False) -> Iterator[TextIO]:
    """Yields a stream for the results. The file `out` appears, or is replaced, when all is written, and not otherwise.
    Bytes of a name that are no text are written as escapes (`\\udce9`), which JSON reads.

    Args:
        out: None stands for stdout. A pipe, or anything else that is no plain file, is written as the results come.
        whole: whether stdout too shall get all or nothing.
        at_once: whether a file shall hold results as they come, like a pipe.

    Raises:
        InputError: the file cannot be written.
    """
    if out is None:
        if not whole:
            yield sys.stdout
            return
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace") as stream:
            yield stream
            stream.seek(0)
            shutil.copyfileobj(stream, sys.stdout)
        return
    plain = not at_once and (out.is_file() or not out.exists())
    if plain:
        out = Path(os.path.realpath(out))  # a link stays a link
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with (temporary if plain else out).open("w", encoding="utf-8", errors="backslashreplace") as stream:
            yield stream
        if plain:
            os.replace(temporary, out)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", where=str(out)) from error
    finally:
        temporary.unlink(missing_ok=True)


def image_ids(pictures: Sequence[Path]) -> list[int]:
    """Returns COCO's number of each picture: its name, where all names are different numbers (as in COCO itself), else
    its place in the sorted list."""
    stems = [path.stem for path in pictures]
    if all(stem.isdecimal() and stem.isascii() for stem in stems) and len({int(stem) for stem in stems}) == len(stems):
        return [int(stem) for stem in stems]
    places = {path: index for index, path in enumerate(sorted(pictures))}
    return [places[path] for path in pictures]


class Writer(Protocol):
    """Writes results, picture by picture."""

    def add(self, shot: Shot, result: Any) -> None:
        """Writes the result of one picture."""

    def fail(self, error: InputError) -> None:
        """Writes that a picture could not be read.

        Raises:
            InputError: the same, where the format has no place for it.
        """

    def finish(self) -> None:
        """Writes what ends the results."""


class Table:
    """One line for each picture, then one for each part of its result."""

    def __init__(self, stream: TextIO, pictures: Sequence[Path], model: Predictor) -> None:
        self._stream = stream
        self._task = model.task
        self._remark = f"  [{escape(model.stand_in)}]" if model.stand_in else ""

    def add(self, shot: Shot, result: Any) -> None:
        """Writes the result of one picture."""
        summary, *parts = self._task.lines(result)
        height, width = shot.image.shape[:2]
        name = escape(shot.source) if shot.frame is None else f"{escape(shot.source)} frame {shot.frame}"
        self._stream.write(f"{name}  {width} x {height}  {summary}{self._remark}\n")
        self._stream.writelines(f"  {part}{self._remark}\n" for part in parts)

    def fail(self, error: InputError) -> None:
        raise error

    def finish(self) -> None:
        """Writes what ends the results."""


class JsonLines:
    """One JSON object a line, for each picture: file, frame, width, height, and the fields of the task; `error` in
    their place where a picture could not be read. Each line goes out as soon as it is there."""

    def __init__(self, stream: TextIO, pictures: Sequence[Path], model: Predictor) -> None:
        self._stream = stream
        self._model = model

    def add(self, shot: Shot, result: Any) -> None:
        """Writes the result of one picture."""
        self._write(_fields(shot, result, self._model))

    def fail(self, error: InputError) -> None:
        problem = error.problems[0]
        fields = {"file": problem.where, "error": problem.message, **_stand_in(self._model)}
        self._write(fields)

    def _write(self, fields: JsonObject) -> None:
        self._stream.write(f"{to_json(fields)}\n")
        self._stream.flush()

    def finish(self) -> None:
        """Writes what ends the results."""


class _JsonList:
    """A JSON list, one element on a line."""

    def __init__(self, stream: TextIO, pictures: Sequence[Path], model: Predictor) -> None:
        self._stream = stream
        self._model = model
        self._task = model.task
        self._ids = dict(zip(pictures, image_ids(pictures), strict=True))
        self._separator = "[\n"

    def fail(self, error: InputError) -> None:
        raise error

    def _element(self, value: object) -> None:
        self._stream.write(self._separator + to_json(value))
        self._separator = ",\n"

    def finish(self) -> None:
        """Writes what ends the results."""
        self._stream.write("[]\n" if self._separator == "[\n" else "\n]\n")


class Json(_JsonList):
    """One element for each picture: file, width, height, and the fields of the task."""

    def add(self, shot: Shot, result: Any) -> None:
        """Writes the result of one picture."""
        self._element(_fields(shot, result, self._model))


class Coco(_JsonList):
    """COCO's results format; each element also carries the name of the picture's file. `category_id` is the id that the
    data set of the build had for the class, where that was COCO's JSON: null for a class that it did not have. Else it
    is the number of the class in the model, from 0."""

    def add(self, shot: Shot, result: Any) -> None:
        """Writes the result of one picture."""
        assert shot.path is not None, "COCO's results are of files"
        beside = {"image_id": self._ids[shot.path], "file_name": shot.path.name}
        for element in self._task.coco(result):
            self._element({**beside, **element, **self._category(element), **_stand_in(self._model)})

    def _category(self, element: JsonObject) -> JsonObject:
        """Returns the id of the element's class in the data set, where that has ids of its own."""
        number, categories = element.get("category_id"), self._task.categories
        if not categories:
            return {}
        known = isinstance(number, int) and 0 <= number < len(categories)
        return {"category_id": categories[number] if known else None}  # type: ignore[index]


def _fields(shot: Shot, result: Any, model: Predictor) -> JsonObject:
    frame: JsonObject = {} if shot.frame is None else {"frame": shot.frame}
    height, width = shot.image.shape[:2]
    place = {"file": shot.source, **frame, "width": width, "height": height}
    return {**place, **_stand_in(model), **model.task.fields(result)}


def _stand_in(model: Predictor) -> JsonObject:
    return {"stand_in": model.stand_in} if model.stand_in else {}


WRITERS: dict[str, Callable[[TextIO, Sequence[Path], Predictor], Writer]] = {
    "table": Table,
    "json": Json,
    "jsonl": JsonLines,
    "coco": Coco,
}
