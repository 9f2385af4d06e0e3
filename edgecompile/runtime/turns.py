"""Measuring in turns: one process after another predicts for a moment, again and again, and the machine is watched.

What a machine does over seconds (its clock, its heat, other processes) then touches all of them alike, so that the
ratio of two subjects is known far better than the figures of either.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgecompile.runtime.machine_load import Load, between, observe
from edgecompile.runtime.probe import Turn, Turned
from edgecompile.runtime.quality import TOLERANCE, Quality, quality_of
from edgecompile.runtime.speedup import ratios_of

ATTEMPTS = 3
"""How often is measured at most where the machine was not quiet: what disturbs longer than that will not end soon."""
LEAST_SECONDS = 0.5
"""For how long is measured at least: over less, ticks of the kernel tell little of the work of others."""
LEAST_ROUNDS = 10
"""How often each of two has its turn at least: an interval of their ratio needs as many."""
TURN_SECONDS = 0.05
LEAST_OF_A_TURN = 3
WARM_AGAIN = 1
"""Predictions behind a pause that do not count: threads have gone to sleep meanwhile."""


@dataclass(frozen=True)
class Extent:
    """How long is measured.

    A measurement goes on until the median is known to `tolerance`. Where the machine was not quiet meanwhile, it begins
    anew, a few times. What it has when `seconds` are over stands, with the evidence against it.

    Attributes:
        warmup: predictions before the clock runs.
        predictions: how many are timed at least, as far as there is time.
        seconds: for how long, at most.
        tolerance: share by which figures may be off.
        most: predictions that are timed at most; None for as many as it takes.
        stream_seconds: for how long streams are measured after that; 0 for no streams.
        least_rounds: how often each of several has its turn at least.
        least_seconds: for how long is measured at least.
    """

    warmup: int = 10
    predictions: int = 100
    seconds: float = 10.0
    tolerance: float = TOLERANCE
    most: int | None = None
    stream_seconds: float = 0.0
    least_rounds: int = LEAST_ROUNDS
    least_seconds: float = LEAST_SECONDS


class Turner(Protocol):
    """A process that can be measured in turns."""

    pid: int

    def turn(self, turn: Turn) -> Turned:
        """Has it predict for a while and returns what it found."""


@dataclass
class Run:
    """What turns found.

    Attributes:
        turns: of each process, in the order of time.
        load: what the machine did meanwhile.
        rounds: medians of a whole prediction of each process, milliseconds, in each round; also of attempts that were
            disturbed, which touched all processes alike.
    """

    turns: list[list[Turned]]
    load: Load
    rounds: list[tuple[float, ...]]

    def samples(self, place: int) -> list[list[float]]:
        """Returns the milliseconds of each part of each prediction of one process."""
        return [sample for turned in self.turns[place] for sample in turned["samples"]]

    def totals(self, place: int) -> list[float]:
        """Returns the milliseconds of each whole prediction of one process."""
        return [sample[-1] for sample in self.samples(place)]

    def pairs(self, place: int = 1) -> list[tuple[float, float]]:
        """Returns the medians of the first process and of another in each round."""
        return [(medians[0], medians[place]) for medians in self.rounds]

    def peak_memory_mb(self, place: int) -> float:
        """Returns the most memory of one process, in MB."""
        return max(turned["peak_memory_mb"] for turned in self.turns[place])

    def accelerator_memory(self, place: int) -> tuple[float | None, str | None]:
        """Returns the most memory of one process on an accelerator, in MB, and who counted it."""
        taken = [(turned["accelerator_mb"], turned["accelerator_meter"]) for turned in self.turns[place]]
        return max((one for one in taken if one[0] is not None), default=(None, None))

    def quality(self, tolerance: float) -> Quality:
        """Returns how good the figures of the first process are."""
        references = [turned["reference_ms"] for turns in self.turns for turned in turns]
        return quality_of(self.totals(0), references, self.load, tolerance)


def measure_in_turns(processes: Sequence[Turner], extent: Extent) -> Run:
    """Measures processes in turns; again where the machine was not quiet, as long as there is time.

    Raises:
        BundleError: a process died.
    """
    end = time.monotonic() + extent.seconds
    rounds: list[tuple[float, ...]] = []
    for attempt in range(1, ATTEMPTS + 1):
        run = _attempt(processes, extent, end, extent.warmup if attempt == 1 else WARM_AGAIN, rounds)
        too_late = time.monotonic() + run.load.seconds > end
        if extent.most is not None or too_late or not run.quality(extent.tolerance).disturbed:
            break
    return run


def _attempt(
    processes: Sequence[Turner], extent: Extent, end: float, warmup: int, rounds: list[tuple[float, ...]]
) -> Run:
    """Measures until the figures stand, the machine is seen to disturb, or the time is over; adds to `rounds`."""
    own = [process.pid for process in processes]
    for process in processes:
        process.turn({"warmup": warmup, "least": 0, "most": 0, "seconds": 0})
    turns: list[list[Turned]] = [[] for _ in processes]
    before = observe(own)
    while True:
        order = range(len(processes))
        for place in order if len(turns[0]) % 2 == 0 else reversed(order):
            turns[place].append(processes[place].turn(_turn(extent, turns[0], place, len(processes))))
        rounds.append(tuple(_median(taken[-1]) for taken in turns))
        over = _is_over(turns[0], extent, end)
        if over or _is_enough(turns, extent, time.monotonic() - before.at):
            run = Run(turns, between(before, observe(own)), rounds)
            quality = run.quality(extent.tolerance)
            if over or quality.disturbed or not (quality.noise or _ratio_open(rounds, extent.tolerance)):
                return run


def _turn(extent: Extent, first: Sequence[Turned], place: int, processes: int) -> Turn:
    """Returns the next turn of a process. A number of predictions that is given is that of the first one: spread over
    as many rounds as a ratio needs, where there is another."""
    most = None
    if extent.most is not None:
        share = max(math.ceil(extent.most / LEAST_ROUNDS), LEAST_OF_A_TURN) if processes > 1 else extent.most
        most = share if place else min(share, extent.most - _counts(first))
    return {"warmup": WARM_AGAIN, "least": LEAST_OF_A_TURN, "most": most, "seconds": TURN_SECONDS}


def _is_over(turns: Sequence[Turned], extent: Extent, end: float) -> bool:
    return _counts(turns) >= extent.most if extent.most is not None else time.monotonic() >= end


def _is_enough(turns: Sequence[Sequence[Turned]], extent: Extent, seconds: float) -> bool:
    """Returns whether there is enough to tell how good it is."""
    if len(turns) > 1 and len(turns[0]) < extent.least_rounds:
        return False
    return _counts(turns[0]) >= extent.predictions and seconds >= extent.least_seconds


def _ratio_open(rounds: Sequence[tuple[float, ...]], tolerance: float) -> bool:
    """Returns whether the ratio of another process to the first is not known well enough yet."""

    def is_open(place: int) -> bool:
        ratio, low, high = ratios_of([(medians[0], medians[place]) for medians in rounds])
        return max(ratio - low, high - ratio) > tolerance * ratio

    return any(is_open(place) for place in range(1, len(rounds[0])))


def _median(turned: Turned) -> float:
    return statistics.median(sample[-1] for sample in turned["samples"])


def _counts(turns: Sequence[Turned]) -> int:
    return sum(len(turned["samples"]) for turned in turns)
