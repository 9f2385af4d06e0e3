"""Detections of one picture after another, in order, while the next pictures are being inferred."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgecompile.runtime.backends import Request
from edgecompile.runtime.detections import Detections
from edgecompile.runtime.letterbox import Geometry, Preprocessor

Picture = str | Path | np.ndarray
PARTS = ("read", "preprocess", "inference", "postprocess")
"""What a prediction is made of, in the order of `Detector.timings`."""


class Lane(Protocol):
    """Takes one picture at a time through the model."""

    def start(self, image: Picture) -> None:
        """Begins with a picture; what it raises concerns this picture only."""

    def finish(self) -> Detections:
        """Waits for the picture that was begun, and returns its detections."""

    def drop(self) -> None:
        """Gives up the picture that was begun; nothing runs any more when this returns."""


class Stream(Iterator[Detections]):
    """Yields the detections of each picture in turn.

    As many pictures are read ahead as there are lanes, and no more are in memory. What a picture raises is raised in
    its place: `next` then goes on with the one after it. Closed early, or left by an exception, it waits for what is
    in flight and leaves nothing running.
    """

    def __init__(self, images: Iterable[Picture], lanes: Iterable[Lane]) -> None:
        self._begun: deque[Lane | Exception] = deque()
        self._free = list(lanes)
        self._depth = len(self._free)
        self._ended = False
        self._images = iter(images)

    def __next__(self) -> Detections:
        while not self._ended and self._free and len(self._begun) < self._depth:
            self._begin()
        if not self._begun:
            raise StopIteration
        oldest = self._begun.popleft()
        if isinstance(oldest, Exception):
            raise oldest
        self._free.append(oldest)
        return oldest.finish()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Takes no more pictures, and drops the results of those begun once they have ended."""
        self._ended = True
        while self._begun:
            oldest = self._begun.popleft()
            if not isinstance(oldest, Exception):
                oldest.drop()

    def _begin(self) -> None:
        """Begins with the next picture, where there is one."""
        try:
            image = next(self._images)
        except StopIteration:
            self._ended = True
            return
        except Exception as error:  # of whatever gives the pictures, such as a camera: it has ended with this
            self._ended = True
            self._begun.append(error)
            return
        lane = self._free.pop()
        try:
            lane.start(image)
        except Exception as error:
            self._free.append(lane)
            self._begun.append(error)
        else:
            self._begun.append(lane)


class InTurn:
    """The lane of a backend that runs one picture at a time: all is done when it is waited for."""

    def __init__(self, detector: Any, settings: Mapping[str, Any]) -> None:
        self._detector = detector
        self._settings = settings
        self._image: Picture | None = None

    def start(self, image: Picture) -> None:
        self._image = image

    def finish(self) -> Detections:
        image, self._image = self._image, None
        return self._detector.predict(image, **self._settings)

    def drop(self) -> None:
        self._image = None


class InFlight:
    """A lane with a request and buffers of its own: while it infers, others prepare and decode."""

    def __init__(
        self,
        detector: Any,
        request: Request,
        preprocessor: Preprocessor,
        read: Callable[[Picture], np.ndarray],
        settings: Mapping[str, Any],
    ) -> None:
        self._detector = detector
        self._request = request
        self._preprocessor = preprocessor
        self._read = read
        self._settings = settings
        self._geometry: Geometry | None = None
        self._marks: tuple[float, ...] = ()

    def start(self, image: Picture) -> None:
        clock = time.perf_counter
        began = clock()
        picture = self._read(image)
        read = clock()
        self._geometry = self._preprocessor.place(0, picture)
        self._marks = (began, read, clock())
        self._request.start(self._preprocessor.tensor)

    def finish(self) -> Detections:
        outputs = self._request.wait()
        inferred = time.perf_counter()
        found = self._detector.postprocess(outputs, self._geometry, **self._settings)
        self._detector.timings = timings(*self._marks, inferred, time.perf_counter())
        return found

    def drop(self) -> None:
        with suppress(Exception):  # nobody waits for this result any more
            self._request.wait()


def timings(*marks: float) -> dict[str, float]:
    """Returns milliseconds by part, from the seconds at which the parts began and the last ended."""
    return {part: 1e3 * (marks[at + 1] - marks[at]) for at, part in enumerate(PARTS)}
