"""How good a measurement is, and by what that is known. Pure, standard library only.

A figure is only as good as the machine was quiet. What is looked at is kept beside the figures as evidence; what speaks
against them is named, in words. A measurement against which something speaks is *noisy*: it is shown, but it is not
kept for another build, and where more than one answer is possible it decides no gate.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict, cast

from edgecompile.runtime.machine_load import Load

TOLERANCE = 0.03
"""Share by which figures may be off, where nobody says otherwise."""
Z = 1.96
"""Of the normal distribution, for intervals at 0.95."""


class QualityDocument(TypedDict, total=False):
    """`Quality` as JSON."""

    tolerance: float
    interval_ms: list[float]
    off: float
    seconds: float
    foreign: float | None
    stolen: float | None
    switches_per_s: float | None
    reference_ms: list[float]
    drift: float
    mhz: list[int | None]
    governor: list[str | None]
    throttled: bool | None
    disturbed: bool
    noise: list[str]


@dataclass(frozen=True)
class Quality:
    """The evidence of how good a measurement is. Shares are 0..1; None stands for what the machine does not show.

    Attributes:
        tolerance: share by which figures may be off.
        interval_ms: confidence interval of the median of the total, at 0.95.
        off: share by which the median may be off by that interval.
        seconds: how long was measured.
        foreign, stolen, switches_per_s, mhz, governor, throttled: see `edgecompile.runtime.machine_load.Load`.
        reference_ms: shortest and longest time of the reference load between the samples, without the outermost tenth.
        drift: share by which these differ.
        disturbed: whether the machine speaks against the figures, and not only the spread of the samples, which more of
            them would narrow.
        noise: what speaks against the figures, a line each; nothing where they stand.
    """

    tolerance: float
    interval_ms: tuple[float, float]
    off: float
    seconds: float
    foreign: float | None
    stolen: float | None
    switches_per_s: float | None
    reference_ms: tuple[float, float]
    drift: float
    mhz: tuple[int | None, int | None]
    governor: tuple[str | None, str | None]
    throttled: bool | None
    disturbed: bool
    noise: tuple[str, ...]

    def to_json(self) -> QualityDocument:
        """Returns the evidence as plain JSON."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return cast("QualityDocument", plain)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Quality:
        """Returns the evidence that `to_json` wrote.

        Raises:
            TypeError: it is no such document.
        """
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
        }
        return cls(**known)


def quality_of(totals: Sequence[float], references: Sequence[float], load: Load, tolerance: float) -> Quality:
    """Returns the evidence of a measurement.

    Args:
        totals: milliseconds of each timed prediction.
        references: milliseconds of the reference load, run between them.
        load: what the machine did meanwhile.
        tolerance: share by which figures may be off.
    """
    low, high = median_interval(totals)
    median = statistics.median(totals)
    quick, slow = _inner(references)
    off = max(median - low, high - median) / median
    disturbances = list(_disturbances(load, quick, slow, tolerance))
    return Quality(
        tolerance=tolerance,
        interval_ms=(round(low, 3), round(high, 3)),
        off=round(off, 4),
        seconds=round(load.seconds, 2),
        foreign=None if load.foreign is None else round(load.foreign, 4),
        stolen=None if load.stolen is None else round(load.stolen, 4),
        switches_per_s=None if load.switches_per_s is None else round(load.switches_per_s, 1),
        reference_ms=(round(quick, 3), round(slow, 3)),
        drift=round(slow / quick - 1, 4),
        mhz=load.mhz,
        governor=load.governor,
        throttled=load.throttled,
        disturbed=bool(disturbances),
        noise=(*disturbances, *_uncertainty(off, tolerance)),
    )


def _uncertainty(off: float, tolerance: float) -> list[str]:
    return [f"the median is known to ±{percent(off)} only, not to ±{percent(tolerance)}"] if off > tolerance else []


def _disturbances(load: Load, quick: float, slow: float, tolerance: float) -> Iterator[str]:
    if load.foreign is not None and load.foreign > tolerance + load.resolution:
        yield f"other processes took {percent(load.foreign)} of the processor"
    if load.stolen is not None and load.stolen > tolerance + load.resolution:
        yield f"the hypervisor gave {percent(load.stolen)} of the processor to others"
    if slow / quick - 1 > tolerance:
        yield f"the machine was not equally fast all the time: a fixed load took {quick:.2f} to {slow:.2f} ms"
    if load.throttled:
        yield "the processor was slowed by heat or low voltage"
    before, after = load.governor
    if before != after:
        yield f"the governor of the clock changed from {before} to {after}"


def median_interval(samples: Sequence[float], z: float = Z) -> tuple[float, float]:
    """Returns the confidence interval of the median, by order statistics: no shape of the distribution is assumed. All
    of a few samples (5 or fewer, at 0.95) are not enough for it; their range stands for it.

    Args:
        z: of the normal distribution; 0.95 where left out.
    """
    ranked, count = sorted(samples), len(samples)
    reach = z * math.sqrt(count) / 2
    first, last = math.floor(count / 2 - reach), math.ceil(count / 2 + reach)
    return ranked[max(first - 1, 0)], ranked[min(last, count - 1)]


def _inner(samples: Sequence[float]) -> tuple[float, float]:
    """Returns the shortest and the longest of samples without the outermost tenth at either end: one hiccup is none."""
    ranked = sorted(samples)
    cut = len(ranked) // 10
    return ranked[cut], ranked[-1 - cut]


def percent(share: float) -> str:
    """Returns a share in percent: two significant digits, none after the point from 10 on."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.1f} %"


def evidence_line(quality: QualityDocument | Mapping[str, Any]) -> str:
    """Returns what was checked of a measurement, and what was found, in one line for people."""
    parts = [f"median known to ±{percent(quality['off'])}"]
    if quality["foreign"] is not None:
        parts.append(f"other processes took {percent(quality['foreign'])} of the processor")
    if quality["stolen"]:
        parts.append(f"the hypervisor took {percent(quality['stolen'])}")
    quick, slow = quality["reference_ms"]
    parts.append(f"a fixed load between the samples took {quick:.2f} to {slow:.2f} ms")
    shown = {"the time of other processes": quality["foreign"], "throttling": quality["throttled"]}
    if unseen := [name for name, value in shown.items() if value is None]:
        parts.append(f"{' and '.join(unseen)} not shown by this machine")
    return ", ".join(parts)


def noise_line(quality: QualityDocument | Mapping[str, Any] | None) -> str:
    """Returns why a measurement is noisy, in one line for people; "" where nothing speaks against it, or nothing is
    known."""
    return "; ".join(quality["noise"]) if quality else ""
