"""How a predictor runs streams: in the setting in which its model is open, or in the runtime's setting for many."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgecompile.errors import EdgecompileError, InputError
from edgecompile.runtime.backends import Backend, Setting
from edgecompile.runtime.letterbox import Preprocessor
from edgecompile.runtime.options import Options
from edgecompile.runtime.sources import Picture, as_picture
from edgecompile.runtime.stream import InFlight, InTurn, Lanes, Pipeline, Stream
from edgecompile.runtime.tasks import Given

LATENCY, THROUGHPUT = "latency", "throughput"
ONE_AT_A_TIME = "the backend runs one inference at a time"


@dataclass(frozen=True)
class Opening:
    """How the backend of a predictor was opened, and how it is opened once more in another setting.

    Attributes:
        threads, options: that it was opened with.
        again: opens the same model; raises as `open_backend`, and where the model is not there any more.
    """

    threads: int
    options: Options
    again: Callable[[Setting], Backend]


class StreamLanes:
    """The lanes of one predictor's streams. The model is opened for many pictures once, by the stream that needs it
    first, and then serves all streams. It does not refer to the predictor: a circle would keep the model in memory."""

    def __init__(self, opening: Opening | None) -> None:
        self._opening = opening
        self._turn = threading.Lock()
        self._many: tuple[Backend, Setting] | None = None
        self._refused = ""

    def stream(
        self, model: Any, pictures: Iterable[Picture], size: tuple[int, int], hint: str | None, settings: Given
    ) -> Stream:
        """Returns the stream of some pictures.

        Args:
            model: the predictor.
            size: height and width that they are scaled to.
            hint: as for `Predictor.stream`.

        Raises:
            InputError: there is no such hint.
        """
        if hint not in (None, LATENCY, THROUGHPUT):
            raise InputError(f"hint is {hint!r}, expected {LATENCY} or {THROUGHPUT}")
        if hint == THROUGHPUT or (hint is None and self._many is not None):
            return Stream(pictures, self._for_many(model, size, settings))
        lanes = self._as_open(model, size, settings)
        later = hint is None and self._setting_for_many(model.backend) is not None
        return Stream(pictures, lanes, partial(self._for_many, model, size, settings) if later else None)

    def _as_open(self, model: Any, size: tuple[int, int], settings: Given, remark: str = "") -> Lanes:
        """Returns lanes on the backend as the predictor opened it."""
        backend = model.backend
        threads = self._opening.threads if self._opening else 0
        if not hasattr(backend, "requests"):
            lane = InTurn(model, settings, size)
            return Lanes([lane], Pipeline(LATENCY, 1, threads, ONE_AT_A_TIME))
        setting = getattr(backend, "setting", LATENCY)
        return self._in_flight(model, backend.requests(), size, settings, Pipeline(setting, 0, threads, remark))

    def _for_many(self, model: Any, size: tuple[int, int], settings: Given) -> Lanes:
        """Returns lanes on the model as it is opened for many pictures; as it is open where that cannot be."""
        with self._turn:
            setting = self._setting_for_many(model.backend)
            if self._many is None and setting is not None and self._opening is not None and not self._refused:
                try:
                    self._many = self._opening.again(setting), setting
                except (EdgecompileError, MemoryError, OSError) as error:
                    self._refused = f"it cannot be opened once more: {error}"
        if self._many is None:
            return self._as_open(model, size, settings, self._refused)
        backend, setting = self._many
        requests = backend.requests(setting.at_once)  # type: ignore[attr-defined]
        return self._in_flight(model, requests, size, settings, Pipeline(THROUGHPUT, 0, setting.threads))

    def _setting_for_many(self, backend: Any) -> Setting | None:
        if self._opening is None or not hasattr(backend, "for_many"):
            return None
        return backend.for_many(self._opening.options, self._opening.threads)

    def _in_flight(self, model: Any, requests: Any, size: tuple[int, int], settings: Given, about: Pipeline) -> Lanes:
        spec = model.layout
        read: Callable[[Picture], Any] = partial(as_picture, channels=spec.input.channels)
        batch = spec.input.batches[0]
        lanes = [InFlight(model, request, Preprocessor(spec, batch, size), read, settings) for request in requests]
        return Lanes(lanes, Pipeline(about.setting, len(lanes), about.threads, about.remark))
