"""The geometry of accuracy against latency and against size: plain numbers that the template draws. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edgecompile.sweep.sweep_point import BUILT, SweepPoint
from edgecompile.sweep.verdict import Cost

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 36
"""Margins around the plot, in SVG units; the axes' numbers stand in them."""
TICKS = 4


@dataclass(frozen=True)
class Dot:
    """A point of a sweep at its place in the plot, SVG units; `on` whether it is on the front."""

    x: float
    y: float
    point: SweepPoint
    on: bool


@dataclass(frozen=True)
class Tick:
    """A number at its place on an axis."""

    at: float
    value: str


@dataclass(frozen=True)
class Scatter:
    """A plot: its size and edges, the dots, the stairs of the front as an SVG path, and the ticks of both axes."""

    dots: tuple[Dot, ...]
    front: str
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def scatter(
    points: Iterable[SweepPoint], cost: Cost, on_front: Callable[[SweepPoint], bool], unit: float = 1
) -> Scatter | None:
    """Lays out the points that have a cost: it grows to the right, accuracy upwards. None where there are none.

    Args:
        points: of one device.
        cost: what stands against accuracy.
        on_front: whether a point is on the front of the two.
        unit: of the ticks, in that of the cost.
    """
    known = [(paid / unit, point) for point in points if (paid := cost(point)) is not None]
    if not known:
        return None
    across = _ticks([paid for paid, _ in known])
    up = _ticks([point.accuracy for _, point in known])

    def x(value: float) -> float:
        return round(LEFT + (value - across[0]) / (across[-1] - across[0]) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - up[0]) / (up[-1] - up[0]) * (HEIGHT - TOP - BOTTOM), 1)

    dots = [Dot(x(paid), y(point.accuracy), point, on_front(point)) for paid, point in known]
    dots.sort(key=lambda dot: (dot.point.state == BUILT, dot.on))  # the last is drawn on top
    stairs = sorted((dot.x, dot.y) for dot in dots if dot.on)
    path = "".join(f"M{h} {v}" if not index else f"H{h}V{v}" for index, (h, v) in enumerate(stairs))
    return Scatter(
        dots=tuple(dots),
        front=path,
        across=tuple(Tick(x(value), f"{value:g}") for value in across),
        up=tuple(Tick(y(value), f"{value:g}") for value in up),
    )


def _ticks(values: list[float]) -> list[float]:
    """Returns round numbers, evenly spaced, that enclose the values."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) * 0.1 or 1.0
    power = 10 ** math.floor(math.log10(span / TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * TICKS >= span)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(step * index, 10) for index in range(first, last + 1)]
