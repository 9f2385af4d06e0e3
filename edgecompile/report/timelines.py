"""The geometry of the timelines of a diagnosis: plain numbers that the template draws. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from edgecompile.report.number_format import NONE
from edgecompile.report.plots import TICKS, Axis, Curve, Plot, Tick, path_through
from edgecompile.runtime.timeline import Timeline

WIDTH, HEIGHT = 720, 120
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 24
"""Margins around a plot, in SVG units; the axes' numbers stand in them."""
BINS = 240
"""Columns into which predictions are gathered: each shows its median and its slowest."""


Points = Sequence[tuple[float, float]]


def plots(timeline: Timeline) -> list[Plot]:
    """Returns the plots of latency, memory, clock, temperature and the load of others."""
    moments, seconds = timeline.moments, timeline.seconds

    def over_time(values: Iterable[float | None]) -> Points:
        return [(moment.at_s, value) for moment, value in zip(moments, values, strict=True) if value is not None]

    median, slowest = _by_column(timeline)
    held = [moment.pictures_mb + moment.results_mb for moment in moments]
    return [
        _plot("latency", "ms", seconds, {"slowest": ("peak", slowest), "median": ("main", median)}, "no prediction"),
        _plot(
            "memory", "MB", seconds,
            {
                "the process": ("main", over_time(moment.memory_mb for moment in moments)),
                "pictures and results still held": ("peak", over_time(held) if any(held) else []),
            },
            "the system does not show it",
        ),
        _plot("clock", "MHz", seconds, {"the quickest core": ("main", over_time(m.mhz for m in moments))},
              "the machine hides its clock"),
        _plot("temperature", "°C", seconds, {"the hottest zone": ("main", over_time(m.temperature_c for m in moments))},
              "the machine has no sensor"),
        _plot(
            "load of others", "%", seconds,
            {
                "other processes": ("main", over_time(_percent(m.foreign) for m in moments)),
                "other virtual machines": ("peak", over_time(_percent(m.stolen) for m in moments)),
            },
            "the system does not show it",
            least_top=10.0,
        ),
    ]  # fmt: skip


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _by_column(timeline: Timeline) -> tuple[Points, Points]:
    """Returns the median and the slowest prediction of each column of the plot."""
    columns: dict[int, list[float]] = {}
    span = max(timeline.seconds, 1e-9)
    for one in timeline.predictions:
        columns.setdefault(int(BINS * min(one.at_s / span, 1.0)), []).append(one.total_ms)
    middle = [(column * span / BINS, sorted(values)[len(values) // 2]) for column, values in sorted(columns.items())]
    return middle, [(column * span / BINS, max(values)) for column, values in sorted(columns.items())]


def _plot(
    title: str, unit: str, seconds: float, curves: dict[str, tuple[str, Points]], why: str, *, least_top: float = 0.0
) -> Plot:
    """Lays curves out over the same time and the same scale."""
    known = {name: (kind, points) for name, (kind, points) in curves.items() if points}
    frame = Plot(title, unit, WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM)
    values = [value for _, points in known.values() for _, value in points]
    if not values:
        return replace(frame, why=why)
    low, high = min(0.0, *values) if min(values) < 0.5 * max(values) else min(values), max(*values, least_top)
    span, duration = (high - low) or abs(high) or 1.0, max(seconds, 1e-9)
    x, y = Axis(0.0, duration, frame.left, frame.right), Axis(low, low + span, frame.bottom, frame.top)
    lines = tuple(
        Curve(name, kind, path_through([(x.at(min(at, duration)), y.at(value)) for at, value in points]))
        for name, (kind, points) in known.items()
    )
    across = tuple(Tick(x.at(at), f"{at:.0f} s") for at in (duration * step / TICKS for step in range(TICKS + 1)))
    up = tuple(Tick(y.at(low + span * step), _number(low + span * step, span)) for step in (0.0, 0.5, 1.0))
    return replace(frame, curves=lines, across=across, up=up)


def _number(value: float, span: float) -> str:
    return (
        NONE if value != value else f"{value:.0f}" if span >= 5 else f"{value:.1f}" if span >= 0.5 else f"{value:.2f}"
    )
