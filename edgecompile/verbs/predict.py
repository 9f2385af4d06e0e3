"""The verb `predict`, which devices have too."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.arguments import Parser, fraction, whole_number
from edgecompile.errors import Problem, RecipeError
from edgecompile.files import write_atomically
from edgecompile.runtime.tasks import Given
from edgecompile.text import tell
from edgecompile.verbs._bundle import add_bundle, add_execution, add_size

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.tasks import Task

ABOUT = "run a bundle on pictures"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    from edgecompile.runtime.results import FORMATS
    from edgecompile.runtime.tasks import all_settings

    add_bundle(parser)
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="picture, folder of pictures, or pattern")
    for setting in all_settings():
        kind = fraction if setting.kind is float else whole_number
        parser.add_argument(_flag(setting.name), type=kind, help=setting.about)
    saved = "also write the pictures there, with their results drawn on them"
    parser.add_argument("--save", metavar="DIR", type=Path, help=saved)
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the results there instead of stdout")
    add_size(parser)
    add_execution(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    from edgecompile.runtime.supervisor import run_confined

    return run_confined(predict_pictures, arguments)


def predict_pictures(arguments: argparse.Namespace) -> int:
    """Predicts pictures and writes the results; with --save the annotated pictures too."""
    from edgecompile.runtime.pictures import find_pictures, passed_over, read_picture
    from edgecompile.runtime.predictor import load
    from edgecompile.runtime.results import WRITERS, opened
    from edgecompile.runtime.sources import with_channels

    pictures = find_pictures(arguments.sources)
    _tell_passed_over(passed_over(arguments.sources))
    saved = _saved_paths(pictures, arguments.save) if arguments.save else {}
    if arguments.out:
        _require_writable(arguments.out, [*pictures, arguments.bundle])
    model = load(arguments.bundle, threads=arguments.threads)
    settings = {**_settings(arguments, model.task), "imgsz": arguments.imgsz}
    if arguments.save:
        _make_folder(arguments.save)
    shown: deque[tuple[Path, np.ndarray]] = deque()  # given to the stream, whose results come in their order

    def images() -> Iterator[np.ndarray]:
        for path in pictures:
            image = read_picture(path, model.layout.input.channels)
            shown.append((path, image))
            yield image

    with (
        opened(arguments.out, whole=arguments.format != "table") as out,
        model.stream(images(), **settings) as results,
    ):
        writer = WRITERS[arguments.format](out, pictures, model.task)
        for number, result in enumerate(results, 1):
            path, image = shown.popleft()
            writer.add(path, image.shape[:2], result)
            if path in saved:
                _save(saved[path], model.task.draw(with_channels(image, 3), result))
            _progress(number, len(pictures))
        writer.finish()
    return 0


def _settings(arguments: argparse.Namespace, task: Task[Any]) -> Given:
    """Returns the settings of the task, None where none was given.

    Raises:
        RecipeError: one was given that belongs to other tasks, or has no effect on this model.
    """
    from edgecompile.runtime.tasks import all_settings

    own = {setting.name for setting in task.settings}
    given = {setting.name: getattr(arguments, setting.name) for setting in all_settings()}
    foreign = [name for name, value in given.items() if name not in own and value is not None]
    if foreign:
        fix = f"this bundle takes {', '.join(_flag(setting.name) for setting in task.settings)}"
        raise RecipeError([Problem(f"{_flag(name)} says nothing about {task.noun}", fix=fix) for name in foreign])
    idle = {name: why for name, why in task.without_effect.items() if given.get(name) is not None}
    if idle:
        said = "has no effect on this model"
        raise RecipeError([Problem(f"{_flag(name)} {said}: {why}", fix="leave it out") for name, why in idle.items()])
    return {name: value for name, value in given.items() if name in own}


def _flag(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _tell_passed_over(suffixes: Mapping[str, int]) -> None:
    """Reports on stderr which files of folders are no pictures that can be read."""
    if suffixes:
        kinds = (f"{count} {suffix or 'without a suffix'}" for suffix, count in sorted(suffixes.items()))
        total = sum(suffixes.values())
        files = "1 file is" if total == 1 else f"{total} files are"
        tell(f"edgecompile: note: {files} passed over, of no suffix that is read: {', '.join(kinds)}", file=sys.stderr)


def _require_writable(out: Path, read: Sequence[Path]) -> None:
    """Raises:
    RecipeError: there is no such folder, or a file that is read would be overwritten.
    """
    if not out.absolute().parent.is_dir():
        raise RecipeError("there is no such folder to write to", where=str(out.parent))
    if out.resolve() in {path.resolve() for path in read}:
        raise RecipeError("would be overwritten, and is read", where=str(out), fix="choose another --out")


def _saved_paths(pictures: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Returns where each annotated picture goes: its name in `folder`, numbered where names meet.

    Raises:
        RecipeError: a source picture would be overwritten.
    """
    places: dict[Path, Path] = {}
    taken: set[Path] = set()
    sources = {path.resolve() for path in pictures}
    for path in pictures:
        place, number = folder / path.name, 2
        while place in taken:
            place, number = folder / f"{path.stem}-{number}{path.suffix}", number + 1
        if place.resolve() in sources:
            raise RecipeError("would overwrite a source picture", where=str(place), fix="choose another --save folder")
        taken.add(place)
        places[path] = place
    return places


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"cannot be made: {error.strerror or error}", where=str(folder)) from error


def _save(place: Path, image: np.ndarray) -> None:
    """Writes a picture, whole or not at all."""
    import cv2

    done, content = cv2.imencode(place.suffix, image)
    if not done:
        raise RecipeError("cannot be encoded", where=str(place))
    try:
        write_atomically(place, content.tobytes(), sync=False)
    except OSError as error:
        raise RecipeError(f"cannot be written: {error.strerror or error}", where=str(place)) from error


def _progress(done: int, of: int) -> None:
    """Shows on a terminal's stderr how far a long prediction is."""
    if of > 20 and sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {of} pictures" + ("\n" if done == of else ""))
        sys.stderr.flush()
