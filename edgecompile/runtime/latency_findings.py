"""Why latency jumps: the causes that are named, by what each cost (`edgecompile.runtime.latency_costs`). Pure.

A jump is a prediction that took 1.5 times as long as usual at its shape, and a millisecond more. A cause is named where
it cost more than `NAMED_SHARE` of the time of all predictions, or explains `NAMED_JUMPS` of several jumps. What others
took of that time does not count where the cause is the model's or the device's own.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecompile.runtime.finding import Finding
from edgecompile.runtime.latency_costs import CAUSES, Cost, costs_of, rested
from edgecompile.runtime.quality import percent
from edgecompile.runtime.timeline import Prediction, Timeline

NAMED_SHARE = 0.05
NAMED_JUMPS = 0.25
LEAST_JUMPS = 3
"""Fewer jumps than this are no pattern."""
LEAST_FRESH = 2
"""Runs at a new shape are few by their nature."""
JUMP_TIMES, JUMP_MS = 1.5, 1.0
FROM_OUTSIDE = ("other_processes", "hypervisor")
"""Causes that are none of the model's and none of the device's."""


@dataclass(frozen=True)
class LatencyView:
    """What a timeline says of latency.

    Attributes:
        findings: the causes that are named, the dearest first.
        jumps: predictions that took far longer than usual.
        unexplained: how many of them have no cause that was seen.
        shares: what each cause cost, as a share of the time of all predictions, 0..1; other than what comes from
            outside, of that time without what others took.
    """

    findings: tuple[Finding, ...]
    jumps: tuple[Prediction, ...]
    unexplained: int
    shares: dict[str, float]


def judge_latency(timeline: Timeline) -> LatencyView:
    """Returns why the latency of a timeline jumps, if it does."""
    costs = costs_of(timeline) if timeline.predictions else []
    if not costs:
        return LatencyView((), (), 0, {})
    total = sum(cost.prediction.total_ms for cost in costs)
    sums = {cause: sum(cost.by_cause.get(cause, 0.0) for cost in costs) for cause in CAUSES}
    own = max(total - sum(sums[cause] for cause in FROM_OUTSIDE), 1e-9)  # a busy machine hides no other cause
    shares = {cause: sums[cause] / (total if cause in FROM_OUTSIDE else own) for cause in CAUSES}
    jumps = [cost for cost in costs if _jumps(cost)]
    explained = Counter(cause for cost in jumps if (cause := _explains(cost)))
    named = [cause for cause in CAUSES if _is_named(cause, shares[cause], explained[cause], len(jumps))]
    evidence = _Evidence(timeline, costs)
    findings = [evidence.finding(cause, shares[cause]) for cause in sorted(named, key=lambda cause: -shares[cause])]
    unexplained = len(jumps) - sum(explained.values())
    return LatencyView(tuple(findings), tuple(cost.prediction for cost in jumps), unexplained, shares)


def _jumps(cost: Cost) -> bool:
    took = cost.prediction.total_ms
    return took > JUMP_TIMES * cost.usual_ms and took > cost.usual_ms + JUMP_MS


def _explains(cost: Cost) -> str | None:
    """Returns the cause of at least half of what a jump took too much; None where there is none."""
    cause = max(cost.by_cause, key=lambda name: cost.by_cause[name], default=None)
    excess = cost.prediction.total_ms - cost.usual_ms
    return cause if cause and cost.by_cause[cause] >= excess / 2 else None


def _is_named(cause: str, share: float, explained: int, jumps: int) -> bool:
    least = LEAST_FRESH if cause == "new_shapes" else LEAST_JUMPS
    return share >= NAMED_SHARE or (explained >= least and explained >= NAMED_JUMPS * jumps)


class _Evidence:
    """The words for causes of a timeline."""

    def __init__(self, timeline: Timeline, costs: Sequence[Cost]) -> None:
        self._timeline, self._costs = timeline, costs
        self._words: dict[str, Callable[[], tuple[str, str, str]]] = {
            "quota": self._quota,
            "garbage_collection": self._garbage_collection,
            "other_processes": self._other_processes,
            "hypervisor": self._hypervisor,
            "oversubscription": self._oversubscription,
            "page_faults": self._page_faults,
            "new_shapes": self._new_shapes,
            "idle": self._idle,
            "throttling": self._throttling,
        }

    def finding(self, cause: str, share: float) -> Finding:
        title, evidence, fix = self._words[cause]()
        beside = "" if cause in FROM_OUTSIDE else ", without what others took"
        whole = f"{evidence}; {percent(share)} of the time of all predictions{beside}"
        return Finding("latency", cause, title, whole, fix, share)

    def _cost(self, cause: str) -> str:
        """Returns what a cause cost in all, and of how many predictions."""
        hit = [cost.by_cause[cause] for cost in self._costs if cost.by_cause.get(cause)]
        return f"{sum(hit):.0f} ms in {len(hit)} of {len(self._costs)} predictions"

    def _quota(self) -> tuple[str, str, str]:
        return (
            "a quota of processor time",
            f"the control group stood still with its quota used up: {self._cost('quota')}",
            "raise the quota (cpu.max, the limit of the container), or set threads to the cores it is worth",
        )

    def _garbage_collection(self) -> tuple[str, str, str]:
        return (
            "Python's garbage collection",
            f"it ran during predictions: {self._cost('garbage_collection')}",
            "call gc.freeze() once all is loaded, or gc.disable() and gc.collect() between pictures",
        )

    def _other_processes(self) -> tuple[str, str, str]:
        shares = [moment.foreign for moment in self._timeline.moments if moment.foreign is not None]
        taken, cost = percent(statistics.fmean(shares)), self._cost("other_processes")
        return (
            "other processes",
            f"they took {taken} of the processor on average, and threads waited for a core: {cost}",
            "stop them, or give the model cores of its own (taskset, a cpuset)",
        )

    def _hypervisor(self) -> tuple[str, str, str]:
        shares = [moment.stolen for moment in self._timeline.moments if moment.stolen is not None]
        given = percent(statistics.fmean(shares))
        return (
            "other virtual machines",
            f"the hypervisor gave {given} of the processor to others: {self._cost('hypervisor')}",
            "give this virtual machine cores of its own",
        )

    def _oversubscription(self) -> tuple[str, str, str]:
        cores, threads = self._timeline.cores, self._timeline.threads
        return (
            "more threads than cores",
            f"{threads} threads share {cores} cores, and waited for each other: {self._cost('oversubscription')}",
            f"set threads to {cores} (target.threads, `load(bundle, threads={cores})`)",
        )

    def _page_faults(self) -> tuple[str, str, str]:
        each = statistics.fmean(cost.prediction.minor for cost in self._costs)
        read = sum(cost.prediction.major for cost in self._costs)
        return (
            "page faults",
            f"{each:.0f} pages of memory were fetched anew at each prediction, {read} in all from a disk: "
            f"{self._cost('page_faults')}",
            "keep freed memory (MALLOC_TRIM_THRESHOLD_=1000000000), and leave enough free that nothing is swapped",
        )

    def _new_shapes(self) -> tuple[str, str, str]:
        fresh = [cost for cost in self._costs if cost.prediction.fresh]
        slower = statistics.median(cost.prediction.total_ms / (cost.usual_ms or 1.0) for cost in fresh)
        return (
            "first runs at a new shape",
            f"{len(fresh)} runs at a size not used lately took {slower:.1f} times as long: {self._cost('new_shapes')}",
            "predict once at each size before the first picture, keep to four sizes at most, or build for one size",
        )

    def _idle(self) -> tuple[str, str, str]:
        behind = [cost.prediction.total_ms / (cost.usual_ms or 1.0) for cost in self._costs if rested(cost.prediction)]
        return (
            "idle between pictures",
            f"behind a rest a prediction takes {statistics.median(behind):.1f} times as long{self._clocks()}: "
            f"{self._cost('idle')}",
            "keep the clock up: governor performance (`cpupower frequency-set -g performance`)",
        )

    def _clocks(self) -> str:
        """Returns the clocks of moments with rests and without, where they are shown."""
        known = {
            whole: [m.mhz for m in self._timeline.moments if m.whole is whole and m.mhz] for whole in (True, False)
        }
        if not all(known.values()):
            return ", the clock is hidden"
        return f", at {statistics.median(known[True]):.0f} MHz instead of {statistics.median(known[False]):.0f}"

    def _throttling(self) -> tuple[str, str, str]:
        moments = self._timeline.moments
        slowed = [moment for moment in moments if moment.throttled]
        hottest = max((moment.temperature_c for moment in slowed if moment.temperature_c is not None), default=None)
        heat = f", at up to {hottest:.0f} °C" if hottest is not None else ""
        return (
            "a processor slowed by heat or low voltage",
            f"in {len(slowed)} of {len(moments)} moments{heat}: {self._cost('throttling')}",
            "cool it, feed it by a stronger supply, or give it fewer pictures a second",
        )
