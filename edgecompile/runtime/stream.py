"""Results of one picture after another, in order, while the next pictures are read and inferred."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

import numpy as np

from edgecompile.runtime.backends import Request
from edgecompile.runtime.confinement import RUNNING, doing
from edgecompile.runtime.fork import own, require_owner
from edgecompile.runtime.geometry import Geometry
from edgecompile.runtime.letterbox import Preprocessor
from edgecompile.runtime.sources import Picture
from edgecompile.runtime.tasks import Given

PARTS = ("read", "preprocess", "inference", "postprocess")
"""Parts of a prediction, in the order of `Predictor.timings`."""
PATIENCE_S = 2.0
"""How long closing waits for a picture that is being read: a camera can be released after that. A camera that
has stalled for longer is left alone."""
POLL_S = 0.2
"""Seconds after which a waiting thread looks by itself: an interrupt may have swallowed the wake-up."""


FEW = 50
"""Pictures of a stream that run as the model is open. Where more come, it is opened once more in the runtime's setting
for many: that takes about as long as a hundred inferences, and so is not done for a handful."""


@dataclass(frozen=True)
class Pipeline:
    """How a stream runs pictures.

    Attributes:
        setting: "latency", each inference as soon as possible, as for `predict`, or "throughput", many at a time.
        requests: pictures that are in flight; all but one infer or wait to be decoded, one is prepared.
        threads: that the runtime was given for one inference; of OpenVINO for all.
        remark: why it is not another setting; "" where nothing speaks for one.
    """

    setting: str
    requests: int
    threads: int
    remark: str = ""

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        remark = f" ({self.remark})" if self.remark else ""
        return f"{self.setting} setting, {self.requests} in flight, {threads}{remark}"


class Lane(Protocol):
    """Takes one picture at a time through the model."""

    def start(self, image: Picture) -> None:
        """Begins with a picture; an error that it raises concerns this picture only."""

    def finish(self) -> Any:
        """Waits for the picture that was begun, and returns its result. May be called again when interrupted."""

    def drop(self) -> None:
        """Gives up the picture that was begun; nothing runs any more when this returns."""


class Lanes(NamedTuple):
    """Lanes that run side by side, and how the runtime runs them."""

    lanes: Sequence[Lane]
    pipeline: Pipeline


class Stream(Iterator[Any]):
    """Yields the result of each picture in turn, to as many threads as ask: each result once.

    As many pictures are read ahead as there are lanes, and no more are in memory. Several lanes are filled by a thread
    of their own, so that a source that stalls withholds no result of a picture it has given. An error of a picture is
    raised in its place: `next` then goes on with the picture after it. An error of the source ends the stream, behind
    the results of the pictures before it. Closed early, or left by an exception, it waits for the pictures in flight
    and leaves nothing running.
    """

    def __init__(self, images: Iterable[Picture], lanes: Lanes, more_lanes: Callable[[], Lanes] | None = None) -> None:
        """Begins a stream.

        Args:
            lanes: that take the first pictures.
            more_lanes: returns those that take the pictures after the first `FEW`; called in the thread that reads.
        """
        self._process = own(self)
        self._turn = threading.Lock()
        self._flight = _Flight(iter(images), lanes, more_lanes)
        _open.add(self)

    @property
    def pipeline(self) -> Pipeline:
        """How pictures run now: a long stream goes on in another setting than it begins with."""
        return self._flight.pipeline

    def __next__(self) -> Any:
        require_owner(self._process)
        with self._turn:
            self._read_ahead()
            oldest = self._flight.oldest()
            if oldest is None:
                raise StopIteration
            if isinstance(oldest, BaseException):
                self._flight.remove_oldest()
                raise oldest
            try:
                result = oldest.finish()
            except Exception:
                self._flight.remove_oldest()
                raise
            self._flight.remove_oldest()
            return result

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Takes no more pictures, and drops the results of those begun once they have ended."""
        flight = getattr(self, "_flight", None)  # None where the source was none
        if flight is None or self._process != os.getpid():
            return
        flight.close()
        mine = self._turn.acquire(timeout=PATIENCE_S)  # not where a source closes the stream that reads it
        flight.drop()
        if mine:
            self._turn.release()
        _open.discard(self)

    def _read_ahead(self) -> None:
        """Allows one more picture to be read, and makes sure that a thread reads it."""
        flight = self._flight
        flight.allow_one()
        if flight.depth == 1:
            if flight.is_empty():
                flight.begin_next()
        elif not flight.is_filled():
            # The thread knows the flight alone: a stream that nobody holds any more is closed.
            threading.Thread(target=flight.fill, name="edgecompile-stream", daemon=True).start()


_open: WeakSet[Stream] = WeakSet()


@atexit.register
def _close_all() -> None:
    """Ends the threads of streams that were left open, before the interpreter goes."""
    for stream in list(_open):
        stream.close()


class _Signal:
    """Wakes one thread that waits. Unlike a condition of `threading`, it stays whole when an interrupt, such as that of
    Ctrl-C, ends the waiting at any point."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wakes the thread that waits, or the next that will."""
        with suppress(RuntimeError):  # is set already
            self._lock.release()

    def wait(self, seconds: float) -> None:
        """Waits until it is set, or for some time."""
        self._lock.acquire(timeout=seconds)


class _Flight:
    """The pictures of a stream that are under way: those begun, in order, each as its lane or as its error.

    One thread begins with pictures, one at a time takes results. They share a deque, whose operations are atomic, and
    numbers and flags that only one thread writes: no interrupt leaves it half changed.
    """

    def __init__(self, images: Iterator[Picture], lanes: Lanes, more_lanes: Callable[[], Lanes] | None) -> None:
        self._images = images
        self._use(lanes)
        self._more_lanes = more_lanes if self.depth > 1 else None
        self._begun: deque[Lane | BaseException] = deque()
        self._asked = 0
        self._taken = 0
        self._ended = False
        self._closed = False
        self._filled = threading.Lock()  # held by the thread that begins
        self._may_begin, self._has_begun, self._left = _Signal(), _Signal(), _Signal()

    def allow_one(self) -> None:
        """Lets one more picture be taken: when a result is asked for, and not when it was handed out."""
        self._asked += 1
        self._may_begin.set()

    def is_empty(self) -> bool:
        """Returns whether no picture is begun."""
        return not self._begun

    def is_filled(self) -> bool:
        """Returns whether a thread begins with pictures."""
        return self._filled.locked()

    def fill(self) -> None:
        """Begins with each picture as soon as one may be taken, to the end."""
        if not self._filled.acquire(blocking=False):
            return
        while not self._ended:
            if self._taken < self._asked + self.depth - 1 and self._free():
                try:
                    self.begin_next()
                except BaseException as error:  # the thread that asks for a result is to have it, not this thread
                    self._add(error, last=True)
            else:
                self._may_begin.wait(POLL_S)
        self._left.set()

    def _take_more_lanes(self) -> None:
        """Goes on with other lanes where more than a few pictures came. Those begun end where they are."""
        if self._more_lanes is not None and self._taken > FEW:
            more, self._more_lanes = self._more_lanes, None
            self._use(more())

    def _use(self, lanes: Lanes) -> None:
        self._lanes, self.pipeline = lanes
        self.depth = len(self._lanes)

    def begin_next(self) -> None:
        """Takes the next picture and begins with it, where there is one."""
        if self._ended:
            return None
        self._taken += 1
        try:
            image = next(self._images)
        except StopIteration:
            return self._add(None, last=True)
        except Exception as error:  # of whatever gives the pictures, such as a camera: it has ended with this
            return self._add(error, last=True)
        if self._closed:
            return None
        self._take_more_lanes()
        lane = self._free()
        assert lane is not None, "a picture is begun only where a lane is free"
        try:
            lane.start(image)
        except Exception as error:
            return self._add(error, last=False)
        return self._add(lane, last=False)

    def oldest(self) -> Lane | BaseException | None:
        """Waits for the picture that was begun first; None where there is none, and never will be."""
        while not self._begun:
            if self._ended:
                return self._begun[0] if self._begun else None
            self._has_begun.wait(POLL_S)
        return self._begun[0]

    def remove_oldest(self) -> None:
        """Removes the picture that was begun first, whose result is there. This frees its lane."""
        self._begun.popleft()
        self._may_begin.set()

    def close(self) -> None:
        """Stops the taking of pictures, and waits for the picture that is being read, but not for ever."""
        self._closed = self._ended = True
        self._may_begin.set()
        self._has_begun.set()
        if self.is_filled():
            self._left.wait(PATIENCE_S)
            self._left.set()

    def drop(self) -> None:
        """Gives up all pictures that were begun."""
        with suppress(IndexError):
            while True:
                oldest = self._begun.popleft()
                if not isinstance(oldest, BaseException):
                    oldest.drop()

    def _free(self) -> Lane | None:
        return next((lane for lane in self._lanes if lane not in self._begun), None)

    def _add(self, begun: Lane | BaseException | None, *, last: bool) -> None:
        """Notes a picture that was begun; None for the end of the source."""
        if begun is not None:
            self._begun.append(begun)
        if last:
            self._ended = True
        self._has_begun.set()
        if self._closed:
            self.drop()


class InTurn:
    """The lane of a backend that runs one picture at a time: waiting for it does all the work."""

    def __init__(self, predictor: Any, settings: Given, imgsz: int | Sequence[int] | None) -> None:
        self._predictor = predictor
        self._settings = settings
        self._imgsz = imgsz
        self._image: Picture | None = None

    def start(self, image: Picture) -> None:
        self._image = image

    def finish(self) -> Any:
        return self._predictor.predict(self._image, imgsz=self._imgsz, **self._settings)

    def drop(self) -> None:
        self._image = None


class InFlight:
    """A lane with a request and buffers of its own: while it infers, other lanes prepare and decode."""

    def __init__(
        self,
        predictor: Any,
        request: Request,
        preprocessor: Preprocessor,
        read: Callable[[Picture], np.ndarray],
        settings: Given,
    ) -> None:
        self._predictor = predictor
        self._request = request
        self._preprocessor = preprocessor
        self._read = read
        self._settings = settings
        self._geometry: Geometry | None = None
        self._image: Picture | None = None
        self._marks: tuple[float, ...] = ()

    def start(self, image: Picture) -> None:
        clock = time.perf_counter
        began = clock()
        self._image = image
        picture = self._read(image)
        read = clock()
        self._geometry = self._preprocessor.place(0, picture)
        self._marks = (began, read, clock())
        self._predictor.give(self._request, self._settings)
        doing(RUNNING)
        self._request.start(self._preprocessor.tensor)

    def finish(self) -> Any:
        outputs = self._request.wait()
        inferred = time.perf_counter()
        result = self._predictor.postprocess(outputs, self._geometry, **self._settings)
        self._predictor.timings = timings(*self._marks, inferred, time.perf_counter())
        image, self._image = self._image, None
        return self._predictor.noted(result, image)

    def drop(self) -> None:
        with suppress(Exception):  # nobody waits for this result any more
            self._request.wait()


def timings(*marks: float) -> dict[str, float]:
    """Returns milliseconds by part, from the seconds at which the parts began and the last ended."""
    return {part: 1e3 * (marks[at + 1] - marks[at]) for at, part in enumerate(PARTS)}
