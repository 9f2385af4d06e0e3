"""Moving pictures, frame by frame, with OpenCV: video files, cameras, and streams of the network.

FFmpeg, which OpenCV reads with, follows whatever a file or a server names, also other files and hosts. It is held to
what was asked for: a file to files, an RTSP stream to RTSP, an HTTP stream to HTTP.
"""

from __future__ import annotations

import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgecompile.errors import InputError
from edgecompile.runtime.confinement import READING, doing
from edgecompile.runtime.network_address import SCHEMES, is_address, masked, scheme_of
from edgecompile.runtime.picture_headers import PIXELS_VARIABLE, most_pixels
from edgecompile.runtime.pictures import PICTURES

VIDEOS = (".asf", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
"""Suffixes of files that are read as video: Ultralytics' `VID_FORMATS`, as far as OpenCV decodes them."""
OPEN_MS, READ_MS = 10_000, 10_000
"""Milliseconds that a stream may take to answer, and to send its next frame."""
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each attempt to connect again."""
POLL_S = 0.5
SHORT = 0.9
"""Share of the frames that a file's header states below which it is called truncated: some headers only estimate."""
LIKELY_FPS = (0.5, 1000.0)
"""Range of frame rates that are believed."""
CAMERA = re.compile(r"/dev/video([0-9]{1,3})")
PROTOCOLS = {
    "": "file",
    "rtsp": "rtsp,rtp,srtp,tcp,udp,crypto",
    "rtsps": "rtsp,rtsps,rtp,srtp,tcp,udp,tls,crypto",
    "http": "http,tcp",
    "https": "https,http,tls,tcp,crypto",
}
"""Scheme to the protocols that FFmpeg may use for it."""
OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"

Notify = Callable[[str], None]
_environment = threading.Lock()


class Video:
    """The frames of one video file, camera or stream: iterating opens it, once.

    A file is read frame by frame. A camera or a stream does not wait: a thread reads it, and of the frames that come
    while others are predicted only the newest is given; `passed_over` counts the others. A stream that breaks off is
    connected to again, a few times.

    Attributes:
        name: for people: the path, `camera 0`, the address without user and password.
        live: whether it does not wait, which is known once it is open.
        total: frames that it has, by its header; None where that is not known.
        fps: frames a second, by its header; None where that is not known.
        read: frames that were read so far.
        file: of a video file, its path.
        passed_over: of a live source, those that were read and not given, beside those that `every` leaves out.
    """

    def __init__(self, source: str | Path | int, *, every: int = 1, notify: Notify | None = None) -> None:
        """Takes note of a source, and opens nothing.

        Args:
            every: each how many frames one is given.
            notify: takes lines for people, such as that a stream broke off; by default they are logged.

        Raises:
            InputError: it is of no kind that is read.
        """
        camera = CAMERA.fullmatch(str(source))
        self._source = int(camera[1]) if camera else source
        self.name = name_of(self._source)
        self._every = every
        self._notify = notify or logging.getLogger("edgecompile.runtime").warning
        self.on_network = is_address(source)
        self.file = None if self.on_network or isinstance(self._source, int) else Path(self._source)
        self.live = self.on_network or isinstance(self._source, int)
        self.total: int | None = None
        self.fps: float | None = None
        self.read = self.passed_over = 0
        self._closed = threading.Event()
        if self.on_network:
            _require_stream(str(source))

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields number, from 0, and picture of each frame: uint8 (height, width, 3), blue green red.

        Raises:
            InputError: it cannot be opened, is too large, or broke off for good.
        """
        with _opened(self._source, self.name) as capture:
            self._take_note(capture)
            if not self.live:
                yield from self._frames(capture)
                return
            yield from self._newest(capture)
        while self.on_network and not self._closed.is_set():
            with self._again() as capture:
                yield from self._newest(capture)
        if not self._closed.is_set():
            raise InputError(
                "the camera gives no more frames",
                where=self.name,
                fix="was it unplugged, or taken by another program?" if self.read else "is another program using it?",
            )

    def close(self) -> None:
        """Ends the reading of a live source; its iterator ends then."""
        self._closed.set()

    def _take_note(self, capture: Any) -> None:
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = fps if math.isfinite(fps) and LIKELY_FPS[0] <= fps <= LIKELY_FPS[1] else None
        self.total = int(count) if math.isfinite(count) and 0 < count < 1 << 40 else None
        if self.on_network and self.total:
            self.live = False  # a file on a server
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if width * height > most_pixels():
            size = f"{width:.0f} x {height:.0f}"
            fix = f"{PIXELS_VARIABLE} sets another bound"
            raise InputError(f"frames of {size} pixels are too large", where=self.name, fix=fix)

    def _frames(self, capture: Any) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the frames of a file, each in its turn."""
        while not self._closed.is_set():
            doing(READING)
            wanted = self.read % self._every == 0
            given, frame = capture.read() if wanted else (capture.grab(), None)
            if not given:
                break
            self.read += 1
            if frame is not None:
                yield self.read - 1, frame
        if not self.read:
            raise InputError("the video has no frame that can be decoded", where=self.name, fix="is it truncated?")
        if self.total and self.read < SHORT * self.total and not self._closed.is_set():
            said = f"ends after {self.read} frames, its header says {self.total}: it is truncated or damaged"
            self._notify(f"{self.name}: {said}")

    def _newest(self, capture: Any) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the newest frame of a live source each time, until it gives none any more."""
        reader = _Reader(capture, self.read, self._every, self._closed)
        reader.start()
        try:
            while (newest := reader.wait()) is not None:
                yield newest
                self.read, self.passed_over = reader.read, self.passed_over + reader.take_passed_over()
        finally:
            reader.stop()
            self.read, self.passed_over = reader.read, self.passed_over + reader.take_passed_over()

    @contextmanager
    def _again(self) -> Iterator[Any]:
        """Connects to a stream that broke off.

        Raises:
            InputError: it was tried as often as it is.
        """
        broke_off = f"{self.name}: the stream broke off after {self.read} frames"
        for attempt, pause in enumerate(PAUSES_S, 1):
            self._notify(f"{broke_off}; connecting again, {attempt} of {len(PAUSES_S)}")
            self._pause(pause)
            try:
                opened = _opened(self._source, self.name)
                capture = opened.__enter__()
            except InputError:
                continue
            try:
                yield capture
            finally:
                opened.__exit__(None, None, None)
            return
        tried = f"and could not be reached again in {len(PAUSES_S)} attempts over {sum(PAUSES_S):g} s"
        raise InputError(f"the stream broke off after {self.read} frames, {tried}", where=self.name)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._closed.is_set():
            doing(READING)
            self._closed.wait(min(left, POLL_S))


class _Reader(threading.Thread):
    """Reads a capture as fast as it gives frames, and keeps the newest."""

    def __init__(self, capture: Any, read: int, every: int, closed: threading.Event) -> None:
        super().__init__(daemon=True)
        self._capture, self._every, self._closed = capture, every, closed
        self._changed = threading.Condition()
        self._newest: tuple[int, np.ndarray] | None = None
        self._ended = self._stopped = False
        self._passed_over = 0
        self.read = read

    def run(self) -> None:
        while not self._stopped:
            given, frame = False, None
            with suppress(Exception):  # of OpenCV: the source has ended with this
                given, frame = self._capture.read()
            with self._changed:
                if not given or frame is None:
                    self._ended = True
                    self._changed.notify_all()
                    return
                if self.read % self._every == 0:
                    self._passed_over += self._newest is not None
                    self._newest = (self.read, frame)
                    self._changed.notify_all()
                self.read += 1

    def wait(self) -> tuple[int, np.ndarray] | None:
        """Returns the newest frame once there is one that was not returned; None where there will be none."""
        while not self._closed.is_set():
            doing(READING)
            with self._changed:
                if self._newest is None and not self._ended:
                    self._changed.wait(POLL_S)
                if self._newest is not None:
                    newest, self._newest = self._newest, None
                    return newest
                if self._ended:
                    return None
        return None

    def take_passed_over(self) -> int:
        """Returns how many frames were passed over since this was asked last."""
        with self._changed:
            count, self._passed_over = self._passed_over, 0
            return count

    def stop(self) -> None:
        """Ends the thread, and waits for the frame that it reads: a capture must not be released meanwhile."""
        self._stopped = True
        self.join()


def name_of(source: str | Path | int) -> str:
    """Returns the name of a source for people."""
    if isinstance(source, int):
        return f"camera {source}"
    return masked(source) if isinstance(source, str) and is_address(source) else str(source)


def is_video(path: str | Path) -> bool:
    """Returns whether a path is, by its suffix, one of a video."""
    return Path(path).suffix.lower() in VIDEOS or bool(CAMERA.fullmatch(str(path)))


def _require_stream(address: str) -> None:
    scheme = scheme_of(address)
    if scheme not in SCHEMES:
        fix = f"streams are {', '.join(SCHEMES[:-1])} and {SCHEMES[-1]}; a file is named by its path"
        raise InputError(f"'{scheme}' is no stream that is read", where=masked(address), fix=fix)
    if Path(address.partition("?")[0]).suffix.lower() in PICTURES:
        fix = f"download it first: curl {masked(address)} | edgecompile predict BUNDLE -"
        raise InputError("is a picture on the network, and no stream", where=masked(address), fix=fix)


@contextmanager
def _opened(source: str | Path | int, name: str) -> Iterator[Any]:
    """Yields the capture of a source, and releases it.

    Raises:
        InputError: it cannot be opened.
    """
    doing(READING)
    capture = _capture(source, name)
    try:
        if not capture.isOpened():
            raise _unopened(source, name)
        yield capture
    finally:
        capture.release()


def _unopened(source: str | Path | int, name: str) -> InputError:
    """Returns the error for a source that OpenCV does not open."""
    if isinstance(source, int):
        there = sorted(str(path) for path in Path("/dev").glob("video*"))
        fix = f"there are {', '.join(there)}" if there else "this machine has none (/dev/video*)"
        return InputError("there is no such camera, or another program uses it", where=name, fix=fix)
    if is_address(source):
        fix = "does it run, is the path right, and does it want a user and a password?"
        return InputError(f"the stream cannot be opened, or did not answer in {OPEN_MS // 1000} s", where=name, fix=fix)
    fix = f"it is truncated, or OpenCV {cv2.__version__} has no decoder for it"
    return InputError("the video cannot be opened", where=name, fix=fix)


def _capture(source: str | Path | int, name: str) -> Any:
    if isinstance(source, int):
        return cv2.VideoCapture(source)
    if is_address(source):
        return _held_to(scheme_of(str(source)), str(source), _waiting())
    path = Path(source)
    if not path.is_file():
        raise InputError("is a folder, not a video" if path.is_dir() else "there is no such video", where=name)
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise InputError("OpenCV opens no file whose name is no text", where=name, fix="rename it") from None
    return _held_to("", str(path.absolute()), [])  # absolute, so that no part of a name is taken for a protocol


def _held_to(scheme: str, source: str, waiting: list[int]) -> Any:
    """Returns the capture of a file or an address, whose reader may use the protocols of its scheme alone."""
    transport = ["rtsp_transport;tcp"] if scheme.startswith("rtsp") else []
    options = "|".join([*transport, f"protocol_whitelist;{PROTOCOLS[scheme]}"])
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    known = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
    with _environment:  # which OpenCV reads when it opens something
        own = os.environ.get(OPTIONS)
        os.environ[OPTIONS] = own or options
        try:
            return cv2.VideoCapture(source, cv2.CAP_FFMPEG, waiting) if known else cv2.VideoCapture(source)
        finally:
            if own is None:
                os.environ.pop(OPTIONS, None)


def _waiting() -> list[int]:
    """Returns the parameters of a capture that limit how long it waits, as far as this OpenCV has them."""
    names = (("CAP_PROP_OPEN_TIMEOUT_MSEC", OPEN_MS), ("CAP_PROP_READ_TIMEOUT_MSEC", READ_MS))
    return [number for name, most in names if hasattr(cv2, name) for number in (getattr(cv2, name), most)]
