"""Two processes against each other, in pairs of turns, for no longer than it takes to tell which is quicker."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecompile.runtime.machine_load import between, observe
from edgecompile.runtime.probe import Turned
from edgecompile.runtime.quality import TOLERANCE, Quality, median_interval, quality_of
from edgecompile.runtime.turns import LEAST_OF_A_TURN, TURN_SECONDS, WARM_AGAIN, Turner

LOOKS = (10, 20, 40, 80, 160)
"""After how many pairs it is asked whether they tell enough. At each look chance may answer, so the looks are few and
each asks for more than an interval at 0.95 would."""
Z = 2.81
"""Of the normal distribution for an interval at 0.995 at each look: over all of them chance finds a gain where there is
none in less than 1.3 of 100 trials."""
WORTH = 0.01
"""Gain below which nobody asks further: where all of the interval lies below it, the trial ends."""
WARM_UP = 3


@dataclass(frozen=True)
class Comparison:
    """What a trial found.

    Attributes:
        ratio: median over the pairs of the time of the second through the time of the first; above 1 the first is
            quicker.
        low, high: its interval at 0.995.
        pairs: how many there were.
        second_ms: median of the second, milliseconds of a whole prediction.
        quality: of the figures of the first; its noise touched both alike.
    """

    ratio: float
    low: float
    high: float
    pairs: int
    second_ms: float
    quality: Quality

    @property
    def gains(self) -> bool:
        """Whether it is proven that the first is quicker."""
        return self.low > 1


def compare(first: Turner, second: Turner, seconds: float, beat: Callable[[], None] = lambda: None) -> Comparison:
    """Has two processes predict in turns until it is told whether the first is quicker, or the time is over.

    Args:
        seconds: for how long at most; the fewest pairs are measured whatever they take.
        beat: called after each pair.

    Raises:
        BundleError: a process died.
    """
    end = time.monotonic() + seconds
    for process in (first, second):
        process.turn({"warmup": WARM_UP, "least": 0, "most": 0, "seconds": 0})
    before = observe([first.pid, second.pid])
    turns: list[tuple[Turned, Turned]] = []
    for look in LOOKS:
        while len(turns) < look and (len(turns) < LOOKS[0] or time.monotonic() < end):
            turns.append(_pair(first, second, swapped=len(turns) % 2 == 1))
            beat()
        ratio, low, high = _ratio(turns)
        if low > 1 or high < 1 + WORTH or time.monotonic() >= end:
            break
    load = between(before, observe([first.pid, second.pid]))
    totals, others = ([sample[-1] for pair in turns for sample in pair[side]["samples"]] for side in (0, 1))
    references = [turned["reference_ms"] for pair in turns for turned in pair]
    quality = quality_of(totals, references, load, TOLERANCE)
    return Comparison(ratio, low, high, len(turns), statistics.median(others), quality)


def _pair(first: Turner, second: Turner, *, swapped: bool) -> tuple[Turned, Turned]:
    """Gives each process a turn; every other time the second goes first, so that neither is always the one behind."""
    order = (second, first) if swapped else (first, second)
    taken = [
        process.turn({"warmup": WARM_AGAIN, "least": LEAST_OF_A_TURN, "most": None, "seconds": TURN_SECONDS})
        for process in order
    ]
    return (taken[1], taken[0]) if swapped else (taken[0], taken[1])


def _ratio(turns: Sequence[tuple[Turned, Turned]]) -> tuple[float, float, float]:
    ratios = [_median(second) / _median(first) for first, second in turns]
    return (statistics.median(ratios), *median_interval(ratios, Z))


def _median(turned: Turned) -> float:
    return statistics.median(sample[-1] for sample in turned["samples"])
