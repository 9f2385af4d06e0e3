"""`SpeedUp`: how many times as fast one model is as another, measured in turns in one run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict, cast

from edgecompile.runtime.quality import median_interval
from edgecompile.runtime.student import quantile

STARTS = 24
"""How many processes of each of two models are started at most to compare them. One process of a model may be a tenth
faster than the next one, for as long as it lives: on a quiet virtual machine of two cores the ratios of ten starts lay
between 0.89 and 1.14, each known to 0.02 by its own rounds."""
ENOUGH_STARTS = 4
"""From so many starts on their spread says how well the ratio is known."""
SURE_STARTS = 5
"""Of fewer the spread itself is known too badly to stop for it."""


class SpeedUpDocument(TypedDict):
    """`SpeedUp` as JSON."""

    ratio: float
    low: float
    high: float
    rounds: int
    against: str
    reference_p50_ms: float
    starts: int


@dataclass(frozen=True)
class SpeedUp:
    """How many times as fast a model is as another.

    Attributes:
        ratio: time of the other through the time of this, of a whole prediction: the median over the rounds of a start,
            and the geometric mean of these over the starts.
        low, high: its confidence interval at 0.95: of few starts by order statistics over the rounds, which does not
            see how starts differ; of `ENOUGH_STARTS` and more by Student's t over the starts.
        rounds: in each of which both were timed, one right after the other.
        against: the other: its precision, and the library that ran it.
        reference_p50_ms: the median of the other, milliseconds.
        starts: how many processes of each were started for it.
    """

    ratio: float
    low: float
    high: float
    rounds: int
    against: str
    reference_p50_ms: float
    starts: int = 1

    def to_json(self) -> SpeedUpDocument:
        """Returns the speed-up as plain JSON."""
        return cast("SpeedUpDocument", asdict(self))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SpeedUp:
        """Returns the speed-up that `to_json` wrote.

        Raises:
            TypeError: it is no such document.
        """
        return cls(**document)


def ratios_of(rounds: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Returns the median ratio of the second to the first of each pair, and the ends of its interval."""
    ratios = [second / first for first, second in rounds]
    return (statistics.median(ratios), *median_interval(ratios))


def speedup_of(starts: Sequence[Sequence[tuple[float, float]]], against: str) -> SpeedUp:
    """Returns the speed-up of a model.

    Args:
        starts: of each start, milliseconds of the model and of the other in each round.
        against: see `SpeedUp`.
    """
    rounds = [pair for start in starts for pair in start]
    ratio, low, high = ratios_of(rounds)
    if len(starts) >= ENOUGH_STARTS:
        ratio, low, high = _over_starts([ratios_of(start)[0] for start in starts])
    other = statistics.median(second for _, second in rounds)
    return SpeedUp(
        round(ratio, 3), round(low, 3), round(high, 3), len(rounds), against, round(other, 3), starts=len(starts)
    )


def is_known(starts: Sequence[Sequence[tuple[float, float]]], tolerance: float) -> bool:
    """Returns whether starts agree well enough that the interval of their ratio is within a share of it.

    Args:
        starts: as for `speedup_of`.
    """
    if len(starts) < SURE_STARTS:
        return False
    ratio, low, high = _over_starts([ratios_of(start)[0] for start in starts])
    return max(ratio - low, high - ratio) <= tolerance * ratio


def _over_starts(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Returns the geometric mean of ratios, and the ends of its interval."""
    logarithms = [math.log(ratio) for ratio in ratios]
    middle = statistics.fmean(logarithms)
    half = quantile(0.975, len(ratios) - 1) * statistics.stdev(logarithms) / math.sqrt(len(ratios))
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def speedup_words(speedup: SpeedUpDocument | Mapping[str, Any]) -> str:
    """Returns a speed-up for people: "2.30x as fast as float here [2.21-2.38]"."""
    return f"{speedup['ratio']:.2f}x as fast as float here [{speedup['low']:.2f}-{speedup['high']:.2f}]"
