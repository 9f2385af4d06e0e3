"""Whether memory grows, how fast and from where. Pure.

Moments of two kinds take turns (`edgecompile.runtime.timeline.Moment`), so a pair of neighbours tells what the backend
alone adds and what pictures and results add beside. The growth is the mean over all pairs, its interval that of
Student's distribution at 0.95, as differences of neighbours are independent where memory takes steps of its own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TypedDict, cast

from edgecompile.runtime.finding import Finding
from edgecompile.runtime.student import quantile
from edgecompile.runtime.timeline import Moment, Timeline

SETTLING = 0.25
"""Share of the run after which memory counts: buffers and allocators fill up before."""
LEAST_PAIRS = 6
SURE = 3.3
"""Standard errors by which growth is above nothing where it is named: by chance in one of a thousand runs."""
LEAST_MB = 1.0
"""Growth over the run that is named at least."""
PARTS = ("backend", "pictures", "results", "source")
HELD = 0.5
"""Share of pictures or results of which the whole growth is laid to whoever holds them."""
HOUR_S = 3600


class GrowthDocument(TypedDict):
    """`Growth` as JSON."""

    mb_per_hour: float
    low: float
    high: float
    grown_mb: float
    predictions: int
    parts_mb_per_hour: dict[str, float]


@dataclass(frozen=True)
class Growth:
    """How memory grows.

    Attributes:
        mb_per_hour, low, high: growth and its interval at 0.95.
        grown_mb: over the time that counts.
        predictions: in that time.
        parts_mb_per_hour: what of the growth the backend takes; pictures and results that somebody still holds, with
            what hangs on them; and what is taken where pictures come from: "source".
    """

    mb_per_hour: float
    low: float
    high: float
    grown_mb: float
    predictions: int
    parts_mb_per_hour: dict[str, float]

    def to_json(self) -> GrowthDocument:
        """Returns the growth as plain JSON."""
        return cast("GrowthDocument", asdict(self))


def growth_of(timeline: Timeline) -> Growth | None:
    """Returns how memory grows; None where the run was too short to tell."""
    pairs = _pairs(timeline.moments)
    if len(pairs) < LEAST_PAIRS:
        return None
    seconds = [sum(one.seconds for one in pair) for pair in pairs]
    mean_s = statistics.fmean(seconds)
    per_hour = HOUR_S / mean_s
    grown = [sum(one.grown_mb for one in pair) for pair in pairs]
    mean, error = statistics.fmean(grown), _error(grown)
    reach = quantile(0.975, len(pairs) - 1) * error
    first, last = pairs[0][0], pairs[-1][-1]
    held = {"pictures": last.pictures_mb - first.pictures_mb, "results": last.results_mb - first.results_mb}
    per_pair = {name: megabytes / len(pairs) for name, megabytes in held.items()}
    backend = statistics.fmean(pair[1].grown_mb for pair in pairs)
    parts = {"source": 0.0, **per_pair, "backend": backend}
    parts[_keeper(first, last, sum(pair[0].predictions for pair in pairs))] += mean - sum(parts.values())
    return Growth(
        mb_per_hour=round(mean * per_hour, 2),
        low=round((mean - reach) * per_hour, 2),
        high=round((mean + reach) * per_hour, 2),
        grown_mb=round(sum(grown), 3),
        predictions=sum(one.predictions for pair in pairs for one in pair),
        parts_mb_per_hour={name: round(parts[name] * per_hour, 2) for name in PARTS},
    )


def _keeper(first: Moment, last: Moment, whole: int) -> str:
    """Returns to whom the growth belongs that is not counted: to what hangs on results or pictures where at least half
    of them are still held, else to their source."""
    held = {"results": last.results_held - first.results_held, "pictures": last.pictures_held - first.pictures_held}
    return next((name for name, count in held.items() if count >= HELD * whole), "source")


def judge_memory(timeline: Timeline) -> list[Finding]:
    """Returns why memory grows, if it does."""
    growth = growth_of(timeline)
    if growth is None or growth.grown_mb < LEAST_MB:
        return []
    if not _is_sure([sum(one.grown_mb for one in pair) for pair in _pairs(timeline.moments)]):
        return []
    part = max(growth.parts_mb_per_hour, key=lambda name: growth.parts_mb_per_hour[name])
    title, fix = WORDS[part]
    share = growth.parts_mb_per_hour[part]
    evidence = (
        f"{growth.mb_per_hour:.0f} MB an hour [{growth.low:.0f} to {growth.high:.0f}] over {growth.predictions} "
        f"predictions, {share:.0f} of it {title}"
    )
    return [Finding("memory", f"{part}_kept" if part in ("pictures", "results") else part, title, evidence, fix)]


WORDS = {
    "backend": (
        "in the backend",
        "update the runtime's library, or open the model anew now and then; report it with this page",
    ),
    "pictures": (
        "pictures that are still held",
        "keep no picture behind its result: look for lists, queues and caches that hold frames",
    ),
    "results": (
        "results that the caller keeps",
        "write results out and drop them, or bound the list that holds them",
    ),
    "source": (
        "where pictures come from",
        "look at what reads them: a capture, a decoder or a generator that keeps what it made",
    ),
}


def _pairs(moments: Sequence[Moment]) -> list[tuple[Moment, Moment]]:
    """Returns the pairs of a whole moment and the one of the backend alone behind it, without those that settle."""
    first = math.ceil(SETTLING * len(moments) / 2) * 2
    return [(one, two) for one, two in zip(moments[first::2], moments[first + 1 :: 2]) if one.whole and not two.whole]  # noqa: B905


def _is_sure(grown: Sequence[float]) -> bool:
    return statistics.fmean(grown) > SURE * _error(grown)


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))
