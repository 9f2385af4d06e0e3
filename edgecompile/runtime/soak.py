"""The soak run: a model predicts for minutes, and what happens meanwhile is written down as a `Timeline`.

All that the run itself needs is allocated before it begins, so that memory that grows is not its own.
"""

from __future__ import annotations

import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import numpy as np

from edgecompile.errors import BundleError
from edgecompile.runtime.golden import check_golden, compare_outputs
from edgecompile.runtime.machine import available_cores
from edgecompile.runtime.machine_load import Load, Observed, between, observe
from edgecompile.runtime.predictor import KEPT_BUFFERS, Predictor
from edgecompile.runtime.probe import resident_memory
from edgecompile.runtime.process_counts import CountReader, waited_between
from edgecompile.runtime.timeline import GoldenLook, Moment, Prediction, Timeline

WARMUP = 5
MOMENT_SECONDS, MOMENT_PREDICTIONS = 0.25, 3
"""A moment is as long as both ask for."""
LOOK_EVERY = 16
"""Moments between two looks at the golden picture."""
MOST_ROWS = 20_000
"""Predictions that are written down; of a longer run those of every second, third, ... moment."""
COLUMNS = tuple(one.name for one in fields(Prediction))
WHOLE_NUMBERS = frozenset(("shape", "fresh", "minor", "major", "moment"))
DIGITS = 3


@dataclass(frozen=True)
class Conditions:
    """How a model is soaked.

    Attributes:
        seconds: how long.
        threads: that its backend was opened with.
        pause_s: how long it rests before each picture of a whole moment, as with a slow camera.
        sizes: height and width that pictures are scaled to, in turns; the model's usual size where there are none.
        handle: is given each result of a whole moment, as a caller's program would be.
        root: where /proc and /sys stand (another folder in tests).
    """

    seconds: float
    threads: int
    pause_s: float = 0.0
    sizes: Sequence[tuple[int, int]] = ()
    handle: Callable[[Any], object] = field(default=lambda result: None)
    root: Path = Path("/")


def soak(model: Predictor, pictures: Iterable[np.ndarray], conditions: Conditions, golden: Any = None) -> Timeline:
    """Predicts pictures for a while and returns what happened.

    Args:
        model: that predicts. No other thread uses it meanwhile.
        pictures: the source, BGR uint8 (height, width, 3); it is gone through again where it ends, where it can be.
        conditions: for how long, and how.
        golden: the `Archive` of the model's bundle, whose golden picture is looked at again and again; None for none.

    Raises:
        BundleError: the model cannot run, already on the first picture.
        InputError: it does not take a size.
        ValueError: there is no picture.
    """
    with CountReader(conditions.root) as counts:
        return _Soak(model, pictures, conditions, counts, golden).run()


class _Held:
    """How many bytes of what was handed out somebody still holds."""

    def __init__(self) -> None:
        self.bytes = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    @property
    def count(self) -> int:
        return len(self._known)

    def add(self, thing: Any, size: int) -> None:
        number = id(thing)

        def gone(_: Any) -> None:
            self._known.pop(number, None)
            self.bytes -= size

        try:
            self._known[number] = weakref.ref(thing, gone)
        except TypeError:  # what takes no weak reference is not counted
            return
        self.bytes += size


class _Soak:
    """One run."""

    def __init__(
        self, model: Predictor, pictures: Iterable[np.ndarray], conditions: Conditions, counts: CountReader, golden: Any
    ) -> None:
        self._model, self._conditions, self._counts = model, conditions, counts
        self._source = _endless(pictures)
        self._kept = np.array(next(self._source))
        self._sizes = tuple(conditions.sizes) or (model.layout.frame.size,)
        self._fixed_size = not conditions.sizes
        self._recent: OrderedDict[int, None] = OrderedDict()
        self._rows = np.ones((MOST_ROWS, len(COLUMNS)))  # written, so that its pages are there
        self._count, self._stored, self._every = 0, 0, 1
        self._moments: list[Moment] = []
        self._pictures, self._results = _Held(), _Held()
        self._golden = golden
        self._looks: list[GoldenLook] = []
        self._not_finite = self._refused = 0
        self._refusal = ""

    def run(self) -> Timeline:
        built, reference = self._first_look()
        for _ in range(WARMUP):
            self._predict(self._kept, 0)
        self._recent[0] = None
        self._began = self._ended = time.perf_counter()
        end = self._began + self._conditions.seconds
        while time.perf_counter() < end or len(self._moments) < 4:
            number = len(self._moments)
            try:
                self._moments.append(self._moment(number, whole=number % 2 == 0))
            except StopIteration:  # the source has ended
                break
            if number % LOOK_EVERY == LOOK_EVERY - 1:
                self._look(reference)
            self._thin_out(number, end)
        self._look(reference)
        conditions = self._conditions
        return Timeline(
            cores=available_cores(),
            threads=conditions.threads,
            seconds=round(time.perf_counter() - self._began, 2),
            pause_ms=1e3 * conditions.pause_s,
            shapes=self._sizes,
            page_fault_ms=round(self._counts.page_fault_ms, 6),
            predicted=self._count,
            predictions=self._predictions(),
            moments=tuple(self._moments),
            built=built,
            looks=tuple(self._looks),
            not_finite=self._not_finite,
            refused=self._refused,
            refusal=self._refusal,
            unseen=tuple(self._counts.unseen),
        )

    def _moment(self, number: int, *, whole: bool) -> Moment:
        """Predicts for a moment, and returns it."""
        threads = self._counts.find_threads()
        before, memory = observe(root=self._conditions.root), resident_memory()
        end, done = time.perf_counter() + MOMENT_SECONDS, 0
        while time.perf_counter() < end or done < MOMENT_PREDICTIONS:
            self._one(number, whole=whole)
            done += 1
        if whole:
            self._check_finite()
        after, grown = observe(root=self._conditions.root), resident_memory() - memory
        return self._described(whole, done, threads, (before, after), grown)

    def _described(self, whole: bool, done: int, threads: int, ends: tuple[Observed, Observed], grown: int) -> Moment:
        load: Load = between(*ends)
        return Moment(
            at_s=round(time.perf_counter() - self._began, DIGITS),
            seconds=round(load.seconds, DIGITS),
            whole=whole,
            predictions=done,
            foreign=_rounded(load.foreign),
            stolen=_rounded(load.stolen),
            resolution=round(load.resolution, DIGITS),
            mhz=load.mhz[1],
            temperature_c=load.temperature_c[1],
            throttled=load.throttled,
            threads=threads,
            memory_mb=round(resident_memory() / 1e6, DIGITS),
            grown_mb=grown / 1e6,
            pictures_mb=self._pictures.bytes / 1e6,
            results_mb=self._results.bytes / 1e6,
            pictures_held=self._pictures.count,
            results_held=self._results.count,
        )

    def _one(self, moment: int, *, whole: bool) -> None:
        """Predicts once, and writes down what happened."""
        picture = self._next() if whole else self._kept
        shape = self._count % len(self._sizes)
        fresh = self._uses(shape)
        if whole and self._conditions.pause_s:
            time.sleep(self._conditions.pause_s)
        before, began = self._counts.read(), time.perf_counter()
        try:
            result = self._predict(picture, shape)
        except BundleError as error:
            self._refused += 1
            self._refusal = self._refusal or error.problems[0].message
            return
        ended = time.perf_counter()
        after = self._counts.read()
        idle, self._ended = began - self._ended, ended
        self._write(
            (began - self._began, 1e3 * (ended - began), 1e3 * idle, shape, fresh, waited_between(before, after),
             after.quota_ms - before.quota_ms, after.gc_ms - before.gc_ms, after.minor - before.minor,
             after.major - before.major, moment)
        )  # fmt: skip
        if whole:
            self._results.add(result, _size_of(result))
            self._conditions.handle(result)

    def _next(self) -> np.ndarray:
        """Returns the next picture of the source, and counts it as long as somebody holds it."""
        picture = next(self._source)
        self._pictures.add(picture, picture.nbytes)
        return picture

    def _predict(self, picture: np.ndarray, shape: int) -> Any:
        size = {} if self._fixed_size else {"imgsz": self._sizes[shape]}
        return self._model.predict(picture, **size)

    def _uses(self, shape: int) -> bool:
        """Returns whether a shape is not among the last that keep their buffers, and makes it the last."""
        fresh = shape not in self._recent
        self._recent[shape] = None
        self._recent.move_to_end(shape)
        if len(self._recent) > KEPT_BUFFERS:
            self._recent.popitem(last=False)
        return fresh

    def _write(self, row: tuple[float, ...]) -> None:
        self._count += 1
        if self._stored < MOST_ROWS and len(self._moments) // 2 % self._every == 0:
            self._rows[self._stored] = row
            self._stored += 1

    def _thin_out(self, number: int, end: float) -> None:
        """Chooses, once the pace is known, of how many moments the predictions are written down."""
        if number == 7:
            pace = self._count / (time.perf_counter() - self._began)
            self._every = max(1, round(pace * (end - self._began) / MOST_ROWS + 0.5))

    def _predictions(self) -> tuple[Prediction, ...]:
        rows = self._rows[: self._stored].tolist()
        known = (Prediction(**dict(zip(COLUMNS, map(_number, COLUMNS, row), strict=True))) for row in rows)
        return tuple(one for one in known if one.moment < len(self._moments))  # a source may end within a moment

    def _first_look(self) -> tuple[tuple[GoldenLook, ...], list[np.ndarray]]:
        """Compares the golden picture with the machine that built the bundle; returns that, and the outputs here."""
        if self._golden is None:
            return (), []
        checks = check_golden(self._golden, self._model)
        built = tuple(GoldenLook(0.0, check.met, f"{check.name}: {check.detail}") for check in checks)
        return built, self._golden_outputs()

    def _golden_outputs(self) -> list[np.ndarray]:
        from edgecompile.runtime.pictures import decode_member

        picture = decode_member(
            self._golden, self._golden.manifest["golden"]["input"], self._model.layout.input.channels
        )
        return self._model.infer(self._model.preprocess(picture)[0])

    def _look(self, reference: list[np.ndarray]) -> None:
        """Compares the outputs on the golden picture with those at the beginning."""
        if self._golden is None:
            return
        tolerance = self._golden.manifest["golden"]["tolerance"]
        checks = compare_outputs(self._golden_outputs(), reference, self._model, tolerance)
        worst = next((check for check in checks if not check.met), checks[0])
        at = round(time.perf_counter() - self._began, DIGITS)
        self._looks.append(GoldenLook(at, worst.met, f"{worst.name}: {worst.detail}"))
        self._ended = time.perf_counter()

    def _check_finite(self) -> None:
        """Looks for numbers that are not finite in the raw outputs on a further picture."""
        try:
            outputs = self._model.infer(self._model.preprocess(self._next())[0])
        except BundleError as error:
            self._refused += 1
            self._refusal = self._refusal or error.problems[0].message
            return
        self._not_finite += any(not np.isfinite(output).all() for output in outputs if output.dtype.kind == "f")
        self._ended = time.perf_counter()


def _endless(pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields pictures again and again; those of a source that can be gone through once, once."""
    again = not isinstance(pictures, Iterator)
    first = iter(pictures)
    try:
        picture = next(first)
    except StopIteration:
        raise ValueError("there is no picture") from None
    rest = chain.from_iterable(cycle([pictures])) if again else iter(())
    return chain([picture], first, rest)


def _size_of(result: Any) -> int:
    """Returns how many bytes the arrays of a result take."""
    parts = vars(result).values() if hasattr(result, "__dict__") else ()
    return sum(part.nbytes for part in parts if isinstance(part, np.ndarray)) + 500


def _number(name: str, value: float) -> Any:
    return int(value) if name in WHOLE_NUMBERS else round(value, 4)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
