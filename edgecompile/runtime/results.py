"""How predictions are written: a table for people, JSON, or a COCO results list. Results go out picture by picture."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from edgecompile.errors import RecipeError
from edgecompile.json_types import JsonObject
from edgecompile.runtime.tasks import Task
from edgecompile.text import escape, to_json

FORMATS = ("table", "json", "coco")


@contextmanager
def opened(out: Path | None, *, whole: bool) -> Iterator[TextIO]:
    """Yields a stream for the results. The file `out` appears, or is replaced, when all is written, and not otherwise.
    Bytes of a name that are no text are written as escapes (`\\udce9`), which JSON reads.

    Args:
        out: None stands for stdout. A pipe, or anything else that is no plain file, is written as the results come.
        whole: whether stdout too shall get all or nothing.

    Raises:
        RecipeError: the file cannot be written.
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
    plain = out.is_file() or not out.exists()
    if plain:
        out = Path(os.path.realpath(out))  # a link stays a link
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with (temporary if plain else out).open("w", encoding="utf-8", errors="backslashreplace") as stream:
            yield stream
        if plain:
            os.replace(temporary, out)
    except OSError as error:
        raise RecipeError(f"cannot be written: {error.strerror or error}", where=str(out)) from error
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

    def add(self, path: Path, size: tuple[int, int], result: Any) -> None:
        """Writes the result of one picture of `size` (height, width)."""

    def finish(self) -> None:
        """Writes what ends the results."""


class Table:
    """One line for each picture, then one for each part of its result."""

    def __init__(self, stream: TextIO, pictures: Sequence[Path], task: Task[Any]) -> None:
        self._stream = stream
        self._task = task

    def add(self, path: Path, size: tuple[int, int], result: Any) -> None:
        """Writes the result of one picture of `size` (height, width)."""
        summary, *parts = self._task.lines(result)
        self._stream.write(f"{escape(path)}  {size[1]} x {size[0]}  {summary}\n")
        self._stream.writelines(f"  {part}\n" for part in parts)

    def finish(self) -> None:
        """Writes what ends the results."""


class _JsonList:
    """A JSON list, one element on a line."""

    def __init__(self, stream: TextIO, pictures: Sequence[Path], task: Task[Any]) -> None:
        self._stream = stream
        self._task = task
        self._ids = dict(zip(pictures, image_ids(pictures), strict=True))
        self._separator = "[\n"

    def _element(self, value: object) -> None:
        self._stream.write(self._separator + to_json(value))
        self._separator = ",\n"

    def finish(self) -> None:
        """Writes what ends the results."""
        self._stream.write("[]\n" if self._separator == "[\n" else "\n]\n")


class Json(_JsonList):
    """One element for each picture: file, width, height, and the fields of the task."""

    def add(self, path: Path, size: tuple[int, int], result: Any) -> None:
        """Writes the result of one picture of `size` (height, width)."""
        self._element({"file": str(path), "width": size[1], "height": size[0], **self._task.fields(result)})


class Coco(_JsonList):
    """COCO's results format; each element also carries the name of the picture's file. `category_id` is the id that the
    data set of the build had for the class, where that was COCO's JSON: null for a class that it did not have. Else it
    is the number of the class in the model, from 0."""

    def add(self, path: Path, size: tuple[int, int], result: Any) -> None:
        """Writes the result of one picture."""
        for element in self._task.coco(result):
            self._element({"image_id": self._ids[path], "file_name": path.name, **element, **self._category(element)})

    def _category(self, element: JsonObject) -> JsonObject:
        """Returns the id of the element's class in the data set, where that has ids of its own."""
        number, categories = element.get("category_id"), self._task.categories
        if not categories:
            return {}
        known = isinstance(number, int) and 0 <= number < len(categories)
        return {"category_id": categories[number] if known else None}  # type: ignore[index]


WRITERS: dict[str, Callable[[TextIO, Sequence[Path], Task[Any]], Writer]] = {"table": Table, "json": Json, "coco": Coco}
