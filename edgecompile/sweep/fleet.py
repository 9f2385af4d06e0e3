"""What to ship on several devices of one kind at once: the point that meets its gates on all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edgecompile.report import number_format
from edgecompile.sweep.sweep_point import BUILT, SweepPoint

HOST = "device.host="


def fleet_verdicts(points: Iterable[SweepPoint]) -> Iterator[str]:
    """Yields a sentence for each kind of device that a sweep has several of: what to ship on all of them, or why there
    is nothing. Of what was built on all, the most accurate is chosen, and of equals the one whose slowest device is the
    fastest."""
    kinds: dict[str, list[SweepPoint]] = {}
    for point in points:
        if point.device and point.address:
            kinds.setdefault(repr((point.device, point.judged_on)), []).append(point)
    for group in kinds.values():
        addresses = list(dict.fromkeys(str(point.address) for point in group))
        if len(addresses) > 1:
            yield f"{group[0].device}, {len(addresses)} devices: {_verdict(group, addresses)}"


def _verdict(group: Sequence[SweepPoint], addresses: Sequence[str]) -> str:
    alike: dict[tuple[str, ...], list[SweepPoint]] = {}
    for point in group:
        alike.setdefault(_settings(point), []).append(point)
    everywhere = [
        points
        for points in alike.values()
        if {point.address for point in points if point.state == BUILT} == {*addresses}
    ]
    if not everywhere:
        lacking = {point.address for point in group if point.state != BUILT}
        where = ", ".join(sorted(map(str, lacking)))
        return f"nothing to ship on all: no point was built on each; points failed on {where}"
    best = max(everywhere, key=lambda points: (points[0].accuracy, -max(point.p50 for point in points)))
    timed = [point for point in best if point.latency_p50_ms is not None]
    words = f"ship this on all: {' '.join(_settings(best[0])) or best[0].name}, {best[0].precision}"
    if not timed:
        return words
    slowest = max(timed, key=lambda point: point.latency_p50_ms or 0.0)
    noisy = ", noisy" if slowest.noise else ""
    return f"{words}; slowest on {slowest.address}, p50 {number_format.milliseconds(slowest.latency_p50_ms)}{noisy}"


def _settings(point: SweepPoint) -> tuple[str, ...]:
    """Returns what distinguishes a point beside its device."""
    return tuple(word for word in point.varies if not word.startswith(HOST))
