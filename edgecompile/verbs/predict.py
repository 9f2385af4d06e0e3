"""The verb `predict`, which devices have too."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.arguments import Parser, fraction, whole_number
from edgecompile.errors import BundleError, InputError, MissingToolError, Problem
from edgecompile.runtime.tasks import Given
from edgecompile.text import tell
from edgecompile.verbs._bundle import add_bundle, add_execution, add_size

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.feed import Feed, Shot
    from edgecompile.runtime.predictor import Predictor
    from edgecompile.runtime.tasks import Task

ABOUT = "run a bundle on pictures, videos, cameras and streams"
SOURCES = """\
a SOURCE is one of:
  a picture, a folder of pictures and videos, or a pattern in quotes: 'frames/*.jpg'
  a list: a .txt file that names sources, one a line, relative to here or to the list
  a video file; or the number of a camera: 0
  an address: rtsp://host/path, http://host/path; user and password in it are never shown
  -   standard input: a picture, JPEGs one behind the other, or lines that name sources"""
FEW, MANY = 20, 1000
"""Pictures above which progress is shown on a terminal, and the rate at the end anywhere."""
SHOW_S = 0.5
END = object()


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    from edgecompile.runtime.results import FORMATS
    from edgecompile.runtime.tasks import all_settings

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = SOURCES
    add_bundle(parser)
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="what to predict; see below")
    for setting in all_settings():
        kind = fraction if setting.kind is float else whole_number
        parser.add_argument(_flag(setting.name), type=kind, help=setting.about)
    classes = "only objects of these classes: names or numbers, such as bolt,nut or 0,2"
    parser.add_argument("--classes", metavar="CLASS,...", action="append", help=classes)
    every = "of videos, cameras and streams, predict and write each Nth frame only"
    parser.add_argument("--show-every", metavar="N", type=whole_number, default=1, help=every)
    saved = "also write the pictures and videos there, with their results drawn on them"
    parser.add_argument("--save", metavar="DIR", type=Path, help=saved)
    parser.add_argument(
        "--format", choices=FORMATS, default="table", help="jsonl: a line of JSON for each picture, at once"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the results there instead of stdout")
    stand_in = "run a bundle for a device that is not here by the runtime that judged it; each line says so"
    parser.add_argument("--stand-in", action="store_true", help=stand_in)
    add_size(parser)
    add_execution(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    from edgecompile.runtime.supervisor import run_confined

    arguments.stdin = os.dup(0) if "-" in arguments.sources else None
    kept = () if arguments.stdin is None else (arguments.stdin,)
    return run_confined(predict_pictures, arguments, kept=kept)


def predict_pictures(arguments: argparse.Namespace) -> int:
    """Predicts pictures and writes the results; with --save the annotated pictures too. Returns 2 where a picture could
    not be read, and the results say which."""
    from edgecompile.runtime.annotated import Annotated
    from edgecompile.runtime.feed import Shot, open_feed
    from edgecompile.runtime.results import AS_THEY_COME, WRITERS, opened

    stdin = None if arguments.stdin is None else os.fdopen(arguments.stdin, "rb", buffering=0)
    feed = open_feed(arguments.sources, every=arguments.show_every, notify=_note, stdin=stdin)
    _tell_passed_over(feed.suffixes)
    _require_known(feed, arguments.format)
    if arguments.out:
        _require_writable(arguments.out, [*feed.files, arguments.bundle])
    places = Annotated(arguments.save, feed) if arguments.save else None
    model = _loaded(arguments)
    feed.channels = model.layout.input.channels
    if model.tuning_ignored:
        _note(f"what was tuned here is ignored: {model.tuning_ignored}")
    settings = {**_settings(arguments, model.task), "imgsz": arguments.imgsz}
    classes = _chosen_classes(arguments.classes, model)
    given: deque[Shot | InputError] = deque()  # to the stream, whose results come in their order
    at_once = feed.endless or arguments.format == "jsonl"
    progress = Progress(None if feed.moving else len(feed.sources))
    if places:
        places.make_folder()

    def images() -> Iterator[Any]:
        for shot in feed:
            given.append(shot)
            if isinstance(shot, Shot):
                yield shot.image

    with (
        closing(feed),
        opened(arguments.out, whole=arguments.format not in AS_THEY_COME, at_once=at_once) as out,
        closing(places) if places else nullcontext(),
        model.stream(images(), **settings) as results,
    ):
        writer = WRITERS[arguments.format](out, feed.pictures, model)
        failed = 0
        for result in chain(results, [END]):
            while given and isinstance(shot := given.popleft(), InputError):
                writer.fail(shot)
                failed += 1
            if result is END:
                break
            assert isinstance(shot, Shot), "each result has a picture"
            result = result if classes is None else result.of_classes(classes)
            writer.add(shot, result)
            if places:
                places.add(shot, _drawn(model, shot, result))
            progress.add()
        writer.finish()
    progress.end()
    return InputError.exit_code if failed else 0


def _require_known(feed: Feed, form: str) -> None:
    """Raises:
    InputError: the results of what may never end, or of videos, have no place in a format.
    """
    if form == "coco" and feed.moving:
        raise InputError("--format coco is for picture files: COCO numbers these", fix="take --format jsonl")
    if form == "json" and feed.endless:
        raise InputError(
            "--format json is written when all is predicted, and this may not end", fix="take --format jsonl"
        )


def _loaded(arguments: argparse.Namespace) -> Predictor:
    """Opens the bundle. Where its device's runtime is not here, the error names --stand-in."""
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.predictor import load

    try:
        return load(arguments.bundle, threads=arguments.threads, stand_in=arguments.stand_in)
    except (MissingToolError, BundleError) as error:
        with Archive(arguments.bundle) as archive:
            target = archive.manifest.get("target")
        if arguments.stand_in or not isinstance(target, dict) or not target.get("stand_in"):
            raise
        other = "or look at it here, by the runtime that judged it: add --stand-in"
        problems = [replace(one, fix=f"{one.fix}, {other}" if one.fix else other) for one in error.problems]
        raise type(error)(problems) from error


def _chosen_classes(words: Sequence[str] | None, model: Predictor) -> frozenset[int] | None:
    """Returns the numbers of the classes that --classes names; None where it is not given.

    Raises:
        InputError: the model has no such class, or classifies whole pictures.
    """
    from edgecompile.errors import nearest

    if words is None:
        return None
    if "conf" not in {setting.name for setting in model.task.settings}:
        raise InputError(f"--classes says nothing about {model.task.noun}", fix="it is for models that find objects")
    numbers = {name: number for number, name in enumerate(model.names)}
    chosen: set[int] = set()
    for word in words:
        for name in [word] if word in numbers else [part.strip() for part in word.split(",")]:
            number = numbers.get(name, int(name) if name.isascii() and name.isdigit() and len(name) < 7 else -1)
            if not 0 <= number < len(model.names):
                near = nearest(name, numbers)
                raise InputError(f"the model knows no class '{name}'", where="command line:--classes", fix=near)
            chosen.add(number)
    return frozenset(chosen)


def _drawn(model: Predictor, shot: Shot, result: Any) -> np.ndarray:
    """Returns a picture with its result drawn on it."""
    from edgecompile.runtime.sources import with_channels
    from edgecompile.runtime.tasks._shown import Shown

    if isinstance(result, Shown):
        return result.plot(shot.image)
    return model.task.draw(with_channels(shot.image, 3), result)


class Progress:
    """Shows on a terminal how many pictures were predicted, and how many a second; of what takes long, at the end on
    any standard error.

    Attributes:
        of: how many there are; None where that is not known.
    """

    def __init__(self, of: int | None) -> None:
        self.of, self.done = of, 0
        self._began = self._shown = time.monotonic()
        self._live = sys.stderr.isatty() and (of is None or of > FEW)

    def add(self) -> None:
        """Counts a picture."""
        self.done += 1
        now = time.monotonic()
        if self._live and now - self._shown >= SHOW_S:
            self._shown = now
            sys.stderr.write(f"\r{self}\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        """Shows the figures of all."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
        if self.done and (self.of is None or self.of > MANY):
            tell(f"edgecompile: {self}", file=sys.stderr)

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        of = "" if self.of is None else f" of {self.of}"
        return f"{self.done}{of} pictures, {self.done / seconds:.1f} a second"


def _note(line: str) -> None:
    tell(f"edgecompile: note: {line}", file=sys.stderr)


def _settings(arguments: argparse.Namespace, task: Task[Any]) -> Given:
    """Returns the settings of the task, None where none was given.

    Raises:
        InputError: one was given that belongs to other tasks, or has no effect on this model.
    """
    from edgecompile.runtime.tasks import all_settings

    own = {setting.name for setting in task.settings}
    given = {setting.name: getattr(arguments, setting.name) for setting in all_settings()}
    foreign = [name for name, value in given.items() if name not in own and value is not None]
    if foreign:
        fix = f"this bundle takes {', '.join(_flag(setting.name) for setting in task.settings)}"
        raise InputError([Problem(f"{_flag(name)} says nothing about {task.noun}", fix=fix) for name in foreign])
    idle = {name: why for name, why in task.without_effect.items() if given.get(name) is not None}
    if idle:
        said = "has no effect on this model"
        raise InputError([Problem(f"{_flag(name)} {said}: {why}", fix="leave it out") for name, why in idle.items()])
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
    InputError: there is no such folder, or a file that is read would be overwritten.
    """
    if not out.absolute().parent.is_dir():
        raise InputError("there is no such folder to write to", where=str(out.parent))
    if out.resolve() in {path.resolve() for path in read}:
        raise InputError("would be overwritten, and is read", where=str(out), fix="choose another --out")
