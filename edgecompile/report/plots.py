"""The geometry of plots: plain numbers that the templates draw. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TICKS = 4
"""Steps of an axis, about."""


@dataclass(frozen=True)
class Tick:
    """A number at its place on an axis, SVG units."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """A linear scale: where numbers from `low` to `high` lie between `start` and `end`, SVG units."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Returns the place of a number, to a tenth of a unit."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, values: Sequence[float]) -> tuple[Tick, ...]:
        """Returns numbers at their places."""
        return tuple(Tick(self.at(value), f"{value:g}") for value in values)


@dataclass(frozen=True)
class Curve:
    """One line of a plot: its title, the class by which it is coloured, and the SVG path."""

    title: str
    kind: str
    path: str


@dataclass(frozen=True)
class Bar:
    """One bar of a plot, SVG units: the class by which it is coloured, and what is said of it."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True)
class Plot:
    """A plot with its edges and ticks. Without curves and bars nothing is known; `why` then says so.

    Attributes:
        unit: of what grows upwards.
        over: what grows to the right, with its unit.
        level, upright: lines across the plot and from its bottom to its top, with their names.
    """

    title: str
    unit: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    over: str = ""
    curves: tuple[Curve, ...] = ()
    bars: tuple[Bar, ...] = ()
    across: tuple[Tick, ...] = ()
    up: tuple[Tick, ...] = ()
    level: tuple[Tick, ...] = ()
    upright: tuple[Tick, ...] = ()
    why: str = ""


def path_through(points: Sequence[tuple[float, float]]) -> str:
    """Returns the SVG path of straight lines from point to point."""
    return "".join(f"{'L' if index else 'M'}{x} {y}" for index, (x, y) in enumerate(points))


def round_numbers(values: Sequence[float]) -> list[float]:
    """Returns round numbers, evenly spaced, that enclose the values."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) * 0.1 or 1.0
    power = 10 ** math.floor(math.log10(span / TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * TICKS >= span)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(step * index, 10) for index in range(first, last + 1)]


def whole_numbers(low: int, high: int) -> list[int]:
    """Returns round whole numbers, evenly spaced, between two: of what is counted from 1."""
    span = max((high - low) / TICKS, 1)
    power = 10 ** math.floor(math.log10(span))
    step = next(int(power * factor) for factor in (5, 2, 1) if power * factor <= span)
    return [number for number in range(0, high + 1, step) if number >= low]
