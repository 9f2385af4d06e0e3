"""What each cause cost of each prediction of a soak run, in milliseconds. Pure.

What is counted directly (a spent quota, garbage collection, waiting for a core, page faults) is taken off first, in
this order. What follows from a comparison (a new shape, a rest, a slowed processor) is judged on what is left, against
predictions to which none of the three applies.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgecompile.runtime.quality import median_interval
from edgecompile.runtime.timeline import Moment, Prediction, Timeline

PAUSE_MS = 20.0
"""A rest from which a clock may fall and threads go to sleep."""
SLOWER_AFTER_PAUSE = 1.2
"""How many times as long predictions behind a rest take, for sure, where the rest is a cause."""
LEAST_COMPARED = 6
"""Predictions of either kind that a comparison needs."""
MAJOR_FAULT_MS = 0.1
"""What a page that is read from a disk costs at least: a fast SSD takes about that."""
NOTICED = 0.03
"""Share of the processor from which others are noticed, beside what kernels miscount."""

CAUSES = (
    "quota", "garbage_collection", "other_processes", "hypervisor", "oversubscription", "page_faults", "new_shapes",
    "idle", "throttling",
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What each cause cost of one prediction.

    Attributes:
        by_cause: milliseconds; together no more than it took.
        usual_ms: what is left of a prediction at its shape, as a rule.
    """

    prediction: Prediction
    by_cause: dict[str, float]
    usual_ms: float = 0.0

    @property
    def net_ms(self) -> float:
        """What is left of its time without what was counted."""
        return max(self.prediction.total_ms - sum(self.by_cause.values()), 0.0)

    def with_rest(self, cause: str) -> Cost:
        """Returns the cost, where all that is left above the usual has one more cause."""
        more = self.net_ms - self.usual_ms
        return replace(self, by_cause={**self.by_cause, cause: more}) if more > 0 else self


def costs_of(timeline: Timeline) -> list[Cost]:
    """Returns what each cause cost of each prediction."""
    moments = timeline.moments
    counted = [_counted(one, moments[one.moment], timeline) for one in timeline.predictions]
    slowed = {number for number, moment in enumerate(moments) if moment.throttled}
    usual = _usual(counted, slowed)
    costs = [replace(cost, usual_ms=usual[cost.prediction.shape]) for cost in counted]
    rests_cost = _rests_cost(costs, slowed)
    return [_compared(cost, slowed, rests_cost=rests_cost) for cost in costs]


def rested(prediction: Prediction) -> bool:
    """Returns whether the model had rested before."""
    return prediction.idle_ms >= PAUSE_MS


def _counted(one: Prediction, moment: Moment, timeline: Timeline) -> Cost:
    """Returns what was counted of a prediction."""
    waited = max(one.waited_ms - one.quota_ms, 0.0)
    counted = {
        "quota": one.quota_ms,
        "garbage_collection": one.gc_ms,
        **{cause: waited * share for cause, share in _waits(moment, timeline).items()},
        "page_faults": one.minor * timeline.page_fault_ms + one.major * MAJOR_FAULT_MS,
    }
    left, by_cause = one.total_ms, {}
    for cause, milliseconds in counted.items():
        if taken := min(milliseconds, left):
            by_cause[cause] = taken
            left -= taken
    return Cost(one, by_cause)


def _waits(moment: Moment, timeline: Timeline) -> dict[str, float]:
    """Returns for whose sake threads wait for a core, in shares: by how many cores' worth others ran, and by how many
    of one's own threads there are more than cores."""
    noticed = NOTICED + moment.resolution
    foreign, stolen = (
        share if share is not None and share > noticed else 0.0 for share in (moment.foreign, moment.stolen)
    )
    claims = {
        "other_processes": foreign * timeline.cores,
        "hypervisor": stolen * timeline.cores,
        "oversubscription": float(max(timeline.threads - timeline.cores, 0)),
    }
    whole = sum(claims.values())
    return {cause: claim / whole for cause, claim in claims.items()} if whole else {}


def _is_plain(cost: Cost, slowed: set[int]) -> bool:
    """Returns whether none of what is compared applies to a prediction."""
    one = cost.prediction
    return not one.fresh and not rested(one) and one.moment not in slowed


def _usual(costs: Sequence[Cost], slowed: set[int]) -> dict[int, float]:
    """Returns the median of what is left at each shape, of the plainest predictions there are. A shape that was new
    each time has that of all others."""
    by_shape: dict[int, list[Cost]] = defaultdict(list)
    for cost in costs:
        by_shape[cost.prediction.shape].append(cost)
    known = {}
    for shape, own in by_shape.items():
        seasoned = [cost for cost in own if not cost.prediction.fresh]
        plain = [cost for cost in seasoned if _is_plain(cost, slowed)] or seasoned
        if plain:
            known[shape] = statistics.median(cost.net_ms for cost in plain)
    others = statistics.median(known.values() if known else [cost.net_ms for cost in costs])
    return {shape: known.get(shape, others) for shape in by_shape}


def _rests_cost(costs: Sequence[Cost], slowed: set[int]) -> bool:
    """Returns whether predictions behind a rest are slower for sure: the confidence intervals of both medians are that
    far apart."""
    groups: dict[bool, list[float]] = {True: [], False: []}
    for cost in costs:
        one = cost.prediction
        if not one.fresh and one.moment not in slowed:
            groups[rested(one)].append(cost.net_ms / (cost.usual_ms or 1.0))
    if min(map(len, groups.values())) < LEAST_COMPARED:
        return False
    return median_interval(groups[True])[0] > SLOWER_AFTER_PAUSE * median_interval(groups[False])[1]


def _compared(cost: Cost, slowed: set[int], *, rests_cost: bool) -> Cost:
    """Returns the cost with what follows from a comparison."""
    one = cost.prediction
    if one.fresh:
        return cost.with_rest("new_shapes")
    if one.moment in slowed:
        return cost.with_rest("throttling")
    return cost.with_rest("idle") if rests_cost and rested(one) else cost
