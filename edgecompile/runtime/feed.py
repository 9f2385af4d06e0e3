"""What the words of a command line name, picture by picture: files, folders, patterns, lists, videos, cameras, streams,
and standard input."""

from __future__ import annotations

import os
import select
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgecompile.errors import InputError, Problem
from edgecompile.runtime.confinement import READING, doing
from edgecompile.runtime.network_address import is_address
from edgecompile.runtime.picture_headers import MOST_BYTES
from edgecompile.runtime.pictures import PICTURES, decode_picture, find_pictures, passed_over, read_picture
from edgecompile.runtime.sources import with_channels
from edgecompile.runtime.videos import VIDEOS, Notify, Video, is_video

STDIN = "-"
LIST = ".txt"
MOST_LIST_BYTES = 64 << 20
LONGEST_LINE = 1 << 16
CHUNK = 1 << 16
POLL_S = 1.0
JPEG, JPEG_BEHIND = b"\xff\xd8\xff", b"\xff\xd9\xff\xd8\xff"
"""How a JPEG begins, and how one JPEG ends and the next begins."""
BEGINNINGS = (
    JPEG,
    b"\x89PNG",
    b"BM",
    b"RIFF",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0",
    b"\xff\x4f\xff\x51",
    b"GIF8",
)
"""How pictures begin; a text that names sources begins otherwise."""


@dataclass(frozen=True)
class Shot:
    """One picture of a source.

    Attributes:
        source: its name: the path, `camera 0`, an address without its secrets, `-`.
        image: uint8 (height, width, channels of the model).
        frame: its number in a video or a stream, from 0; None of a picture.
        path: of a picture's file; None of anything else.
        fps: frames a second of the video, as its header says; None where that is not known.
    """

    source: str
    image: np.ndarray
    frame: int | None = None
    path: Path | None = None
    fps: float | None = None


Source = Path | Video
"""A picture, or what gives many."""


@dataclass
class Feed:
    """The pictures of a command line, in its order.

    Attributes:
        sources: as far as they are known beforehand; standard input may name more.
        channels: that the model takes.
        at: the video that is being read.
        suffixes: of files in folders that are passed over, and how many of each.
        stdin: whether standard input is read.
    """

    sources: list[Source]
    every: int
    notify: Notify
    channels: int = 3
    suffixes: Counter[str] = field(default_factory=Counter)
    stdin: BinaryIO | None = None
    at: Video | None = None

    @property
    def pictures(self) -> list[Path]:
        """The pictures that are known beforehand."""
        return [source for source in self.sources if isinstance(source, Path)]

    @property
    def files(self) -> list[Path]:
        """The files that are known beforehand."""
        return [*self.pictures, *(one.file for one in self.sources if isinstance(one, Video) and one.file)]

    @property
    def moving(self) -> bool:
        """Whether there are videos, cameras or streams, or what comes is not known beforehand."""
        return self.stdin is not None or any(isinstance(source, Video) for source in self.sources)

    @property
    def endless(self) -> bool:
        """Whether it may never end."""
        return self.stdin is not None or any(isinstance(one, Video) and one.live for one in self.sources)

    def __iter__(self) -> Iterator[Shot | InputError]:
        """Yields each picture, or the error in the place of a picture that cannot be read.

        Raises:
            InputError: a video, a camera or a stream cannot be read, or not further.
        """
        for source in self.sources:
            yield from self._shots(source)
        if self.stdin is not None:
            yield from self._from_stdin(self.stdin)

    def close(self) -> None:
        """Ends the reading of a camera or a stream."""
        if self.at:
            self.at.close()

    def _shots(self, source: Source) -> Iterator[Shot | InputError]:
        if isinstance(source, Path):
            try:
                yield Shot(str(source), read_picture(source, self.channels), path=source)
            except InputError as error:
                yield error
            return
        self.at = source
        for frame, image in source:
            yield Shot(source.name, with_channels(image, self.channels), frame, fps=source.fps)
        if source.passed_over:
            lost = (
                f"{source.passed_over} of {source.read} frames came while others were predicted, and were passed over"
            )
            self.notify(f"{source.name}: {lost}")

    def _from_stdin(self, stream: BinaryIO) -> Iterator[Shot | InputError]:
        """Yields what standard input holds: a picture; JPEGs one behind the other, as a camera sends them; or lines
        that name sources, each as soon as it is there."""
        first = _read(stream, CHUNK)
        if not first:
            raise InputError("standard input is empty", where=STDIN)
        if not first.startswith(BEGINNINGS):
            for line in _lines(stream, first):
                for source in _sources([line], None, self.every, self.notify):
                    yield from self._shots(source)
            return
        frames = _jpegs(stream, first) if first.startswith(JPEG) else iter([(_rest(stream, first), True)])
        for number, (content, last) in enumerate(frames):
            if number % self.every:
                continue
            try:
                image = decode_picture(content, STDIN, self.channels)
                yield Shot(STDIN, image, None if last and not number else number)
            except InputError as error:
                yield error


def open_feed(words: Sequence[str], *, every: int, notify: Notify, stdin: BinaryIO | None) -> Feed:
    """Returns the pictures that words name.

    Args:
        every: of videos, cameras and streams, each how many frames one is given.
        notify: takes lines for people.
        stdin: what the word `-` stands for.

    Raises:
        InputError: one problem for each word that names nothing.
    """
    named = [word for word in words if word != STDIN]
    suffixes = passed_over([word for word in named if not is_address(word)], PICTURES + VIDEOS)
    sources = _sources(named, Path(), every, notify)
    return Feed(sources, every, notify, suffixes=suffixes, stdin=stdin if STDIN in words else None)


def _sources(words: Iterable[str], lists: Path | None, every: int, notify: Notify) -> list[Source]:
    """Returns the sources that words name, each picture once.

    Args:
        lists: the folder that relative lines of a list are looked up in too; None where a word names no list.
    """
    sources: dict[object, Source] = {}
    problems: list[Problem] = []
    for word in words:
        try:
            for source in _named(word, lists, every, notify):
                sources.setdefault(source if isinstance(source, Path) else id(source), source)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return list(sources.values())


def _named(word: str, lists: Path | None, every: int, notify: Notify) -> list[Source]:
    """Returns the sources that one word names."""
    path = Path(word)
    if is_address(word):
        return [Video(word, every=every, notify=notify)]
    if word.isascii() and word.isdigit() and not path.exists():
        if len(word) > 4:
            raise InputError("there is no such picture, and no camera of that number", where=word)
        return [Video(int(word), every=every, notify=notify)]
    if lists is not None and path.suffix.lower() == LIST and path.is_file():
        lines = _list(path)
        beside = path.parent
        found = [line if os.path.exists(line) or not (beside / line).exists() else str(beside / line) for line in lines]
        return _sources(found, None, every, notify)
    if word == "screen":
        raise InputError("the screen is no source here", where=word, fix="save pictures of it, and name their folder")
    files = [path] if is_video(path) and path.exists() else find_pictures([word], PICTURES + VIDEOS)
    return [Video(file, every=every, notify=notify) if is_video(file) else file for file in files]


def _list(path: Path) -> list[str]:
    """Returns the lines of a list of sources.

    Raises:
        InputError: it cannot be read, is too large, is no text, or is empty.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_LIST_BYTES + 1)
    except OSError as error:
        raise InputError(f"the list cannot be read: {error.strerror or error}", where=str(path)) from error
    if len(content) > MOST_LIST_BYTES or b"\0" in content:
        raise InputError("is no list of sources, one a line", where=str(path))
    lines = [line.strip() for line in content.decode("utf-8-sig", "surrogateescape").splitlines()]
    if not any(lines):
        raise InputError("the list is empty", where=str(path))
    return [line for line in lines if line]


def _read(stream: BinaryIO, most: int) -> bytes:
    """Returns what is there to read; b"" at the end. A pipe may be silent for as long as it likes."""
    doing(READING)
    while not select.select([stream], [], [], POLL_S)[0]:
        doing(READING)
    return os.read(stream.fileno(), most)


def _rest(stream: BinaryIO, content: bytes) -> bytes:
    parts, size = [content], len(content)
    while part := _read(stream, CHUNK):
        size += len(part)
        if size > MOST_BYTES:
            raise InputError(f"picture file larger than {MOST_BYTES >> 20} MiB", where=STDIN)
        parts.append(part)
    return b"".join(parts)


def _jpegs(stream: BinaryIO, content: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yields JPEGs that stand one behind the other, and whether it is the last. Each is whole once the next begins."""
    buffer, begin = bytearray(content), 0
    while True:
        end = buffer.find(JPEG_BEHIND, begin)
        while end >= 0:
            yield bytes(buffer[: end + 2]), False
            del buffer[: end + 2]
            end, begin = buffer.find(JPEG_BEHIND), 0
        begin = max(len(buffer) - len(JPEG_BEHIND), 0)
        part = _read(stream, CHUNK)
        if not part:
            yield bytes(buffer), True
            return
        buffer += part
        if len(buffer) > MOST_BYTES:
            raise InputError(f"picture larger than {MOST_BYTES >> 20} MiB", where=STDIN)


def _lines(stream: BinaryIO, content: bytes) -> Iterator[str]:
    """Yields lines as they come."""
    while True:
        *lines, rest = content.split(b"\n")
        yield from (text for line in lines if (text := line.decode("utf-8", "surrogateescape").strip()))
        part = _read(stream, CHUNK)
        if not part:
            if text := rest.decode("utf-8", "surrogateescape").strip():
                yield text
            return
        if len(rest) > LONGEST_LINE:
            raise InputError("is neither a picture nor a list of sources, one a line", where=STDIN)
        content = rest + part
