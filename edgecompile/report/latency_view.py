"""The histogram and the timeline of the predictions that were timed: plain numbers that the template draws. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgecompile.report.number_format import milliseconds
from edgecompile.report.plots import Axis, Bar, Curve, Plot, Tick, path_through, round_numbers, whole_numbers
from edgecompile.runtime.measurement import MeasurementDocument, kept_every

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 38
"""Margins around a plot, in SVG units; numbers and names of the axes stand in them."""
LEAST_BARS, MOST_BARS = 8, 40
BEYOND = 1.25
"""Times the 99th percentile up to which the histogram reaches: one hiccup would press all else into a line."""
RANKS = {"median": "p50", "p95": "p95"}
"""Names of the marks, each to the percentile that it stands at."""


@dataclass(frozen=True)
class LatencyView:
    """The two plots, and what to know of them; or why there are none."""

    plots: tuple[Plot, ...] = ()
    note: str = ""
    why: str = ""


def latency_view(measured: MeasurementDocument | None) -> LatencyView | None:
    """Returns what to draw of the predictions of a measurement; None where nothing was measured."""
    if not measured or not measured.get("latency_ms"):
        return None
    samples = [sample / 1e3 for sample in measured.get("samples_us") or ()]
    if not samples:
        return LatencyView(
            why="the measurement is of an earlier version, which did not keep the time of each prediction"
        )
    ranks = {name: measured["latency_ms"]["total"][rank] for name, rank in RANKS.items()}
    most = max(BEYOND * measured["latency_ms"]["total"]["p99"], *ranks.values())
    near = [sample for sample in samples if sample <= most]
    step = kept_every(measured["predictions"])
    notes = (
        [f"{len(samples)} of {measured['predictions']} predictions are drawn, one of each {step}"] if step > 1 else []
    )
    if far := len(samples) - len(near):
        notes.append(f"{far} beyond {milliseconds(most)}, up to {milliseconds(max(samples))}, not in the histogram")
    return LatencyView((_histogram(near, ranks), _timeline(samples, step, ranks)), "; ".join(notes))


def _frame(title: str, unit: str, over: str) -> Plot:
    return Plot(title, unit, WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM, over)


def _histogram(samples: Sequence[float], ranks: dict[str, float]) -> Plot:
    """Returns how many predictions took how long."""
    frame = _frame("how many took how long", "predictions", "latency, ms")
    across = round_numbers([*samples, *ranks.values()])
    x = Axis(across[0], across[-1], frame.left, frame.right)
    bars = min(max(math.isqrt(len(samples)), LEAST_BARS), MOST_BARS)
    width = (x.high - x.low) / bars
    counts = Counter(min(int((sample - x.low) / width), bars - 1) for sample in samples)
    up = [value for value in round_numbers([0, max(counts.values())]) if value == int(value)]
    y = Axis(0, up[-1], frame.bottom, frame.top)
    drawn = tuple(
        Bar(
            x.at(x.low + number * width),
            y.at(count),
            round((frame.right - frame.left) / bars - 0.8, 1),
            round(frame.bottom - y.at(count), 1),
            "main",
            f"{count} from {x.low + number * width:.3g} to {x.low + (number + 1) * width:.3g} ms",
        )
        for number, count in sorted(counts.items())
    )
    upright = tuple(Tick(x.at(value), f"{name} {milliseconds(value)}") for name, value in ranks.items())
    return replace(frame, bars=drawn, across=x.ticks(across), up=y.ticks(up), upright=upright)


def _timeline(samples: Sequence[float], step: int, ranks: dict[str, float]) -> Plot:
    """Returns how long each prediction took, in the order in which they ran."""
    frame = _frame("one after another", "ms", "prediction, by its number")
    up = round_numbers([0, *samples, *ranks.values()])
    x = Axis(1, max(1 + step * (len(samples) - 1), 2), frame.left, frame.right)
    y = Axis(up[0], up[-1], frame.bottom, frame.top)
    line = path_through([(x.at(1 + step * index), y.at(sample)) for index, sample in enumerate(samples)])
    level = tuple(Tick(y.at(value), f"{name} {milliseconds(value)}") for name, value in ranks.items())
    curve = Curve("each prediction", "main", line)
    return replace(frame, curves=(curve,), across=x.ticks(whole_numbers(1, int(x.high))), up=y.ticks(up), level=level)
