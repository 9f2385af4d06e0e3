"""`SpeedUp`: how many times as fast one model is as another, measured in turns in one run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict, cast

from edgecompile.runtime.quality import median_interval


class SpeedUpDocument(TypedDict):
    """`SpeedUp` as JSON."""

    ratio: float
    low: float
    high: float
    rounds: int
    against: str
    reference_p50_ms: float


@dataclass(frozen=True)
class SpeedUp:
    """How many times as fast a model is as another.

    Attributes:
        ratio: median over the rounds of the time of the other through the time of this, of a whole prediction.
        low, high: its confidence interval at 0.95, by order statistics.
        rounds: in each of which both were timed, one right after the other.
        against: the other: its precision, and the library that ran it.
        reference_p50_ms: the median of the other, milliseconds.
    """

    ratio: float
    low: float
    high: float
    rounds: int
    against: str
    reference_p50_ms: float

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


def speedup_of(rounds: Sequence[tuple[float, float]], against: str) -> SpeedUp:
    """Returns the speed-up of a model.

    Args:
        rounds: milliseconds of the model and of the other, in each round.
        against: see `SpeedUp`.
    """
    ratio, low, high = ratios_of(rounds)
    other = statistics.median(second for _, second in rounds)
    return SpeedUp(round(ratio, 3), round(low, 3), round(high, 3), len(rounds), against, round(other, 3))


def speedup_words(speedup: SpeedUpDocument | Mapping[str, Any]) -> str:
    """Returns a speed-up for people: "2.30x as fast as float here [2.21-2.38]"."""
    return f"{speedup['ratio']:.2f}x as fast as float here [{speedup['low']:.2f}-{speedup['high']:.2f}]"
