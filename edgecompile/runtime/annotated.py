"""Where annotated pictures and videos go: one file each, of the name of its source, in one folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgecompile.errors import InputError
from edgecompile.runtime.feed import Feed, Shot
from edgecompile.runtime.tasks._shown import write_picture

USUAL_FPS = 25.0
"""Frames a second of a video whose source does not say how many it has."""
CODECS = ((".mp4", "mp4v"), (".avi", "MJPG"))
"""Suffix and code of what videos are written as: the first that this OpenCV has an encoder for."""


class Annotated:
    """Writes annotated pictures and videos into a folder."""

    def __init__(self, folder: Path, feed: Feed) -> None:
        """Chooses a place for each picture, and writes nothing.

        Raises:
            InputError: a file that is read would be overwritten.
        """
        self._folder, self._every = folder, feed.every
        self._read = {path.resolve() for path in feed.files}
        self._taken: set[Path] = set()
        self._places = {path: self._place(path.stem, path.suffix) for path in feed.pictures}
        self._video: _VideoFile | None = None

    def make_folder(self) -> None:
        """Raises:
        InputError: the folder is not there, and cannot be made.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot be made: {error.strerror or error}", where=str(self._folder)) from error

    def add(self, shot: Shot, drawn: np.ndarray) -> None:
        """Writes a picture, or the next frame of a video.

        Raises:
            InputError: it cannot be written.
        """
        if shot.frame is None:
            path = shot.path or Path("stdin.png")
            write_picture(self._places.get(path) or self._place(path.stem, path.suffix), drawn)
            return
        if self._video is None or not self._video.fits(shot, drawn):
            self.close()
            fps = (shot.fps or USUAL_FPS) / self._every
            stem = re.sub(r"[^\w.-]+", "-", Path(shot.source).stem if Path(shot.source).is_file() else shot.source)
            self._video = _VideoFile(self._folder, stem.strip("-.") or "stdin", self._place, shot, drawn, fps)
        self._video.write(drawn)

    def close(self) -> None:
        """Ends the video that is being written."""
        if self._video is not None:
            self._video.close()
            self._video = None

    def _place(self, stem: str, suffix: str) -> Path:
        """Returns a path in the folder that no other source has.

        Raises:
            InputError: a picture that is read lies there.
        """
        place, number = self._folder / f"{stem}{suffix}", 2
        while place in self._taken:
            place, number = self._folder / f"{stem}-{number}{suffix}", number + 1
        if place.resolve() in self._read:
            raise InputError("would overwrite a source", where=str(place), fix="choose another --save folder")
        self._taken.add(place)
        return place


class _VideoFile:
    """One video that is being written; it has its name once it is whole, or was ended early."""

    def __init__(
        self, folder: Path, stem: str, place: Callable[[str, str], Path], shot: Shot, drawn: np.ndarray, fps: float
    ) -> None:
        self._source, self._size = shot.source, drawn.shape[:2]
        for suffix, code in CODECS:
            self._part = folder / f".{stem[:100]}.{os.getpid()}.part{suffix}"
            self._writer = _writer(self._part, code, fps, drawn)
            if self._writer.isOpened():
                self._place = place(stem[:100], suffix)
                return
        raise InputError("OpenCV has no encoder for videos here", where=str(folder), fix="leave --save out")

    def fits(self, shot: Shot, drawn: np.ndarray) -> bool:
        """Returns whether a frame belongs into this video."""
        return (shot.source, drawn.shape[:2]) == (self._source, self._size)

    def write(self, drawn: np.ndarray) -> None:
        self._writer.write(drawn)

    def close(self) -> None:
        self._writer.release()
        try:
            os.replace(self._part, self._place)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", where=str(self._place)) from error


def _writer(path: Path, code: str, fps: float, drawn: np.ndarray) -> Any:
    height, width = drawn.shape[:2]
    os.environ.setdefault("OPENCV_FFMPEG_WRITER_LOGLEVEL", "-8")
    return cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, (width, height))
