"""The geometry of accuracy against latency and against size: plain numbers that the template draws. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from edgecompile.sweep.verdict import BUILT

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 36
"""Margins around the plot, in SVG units; the axes' numbers stand in them."""
TICKS = 4


def scatter(
    points: Iterable[Mapping[str, Any]], cost: str = "latency_p50_ms", pareto_front: str = "front", unit: float = 1
) -> dict[str, Any] | None:
    """Lays out the points that have a cost: it grows to the right, accuracy upwards. None where there are none.

    Args:
        points: of one device.
        cost: what stands against accuracy, a key of a point.
        front: key of whether a point is on the front of the two.
        unit: of the ticks, in that of the cost.

    Returns:
        width, height, `dots` (x, y and the point), `front` (SVG path of the front's stairs), `across` and `up` (the
        ticks of the axes: place and value), and the edges of the plot.
    """
    shown = [point for point in points if point[cost] is not None]
    if not shown:
        return None
    across = _ticks([point[cost] / unit for point in shown])
    up = _ticks([point["map50_95"] for point in shown])

    def x(value: float) -> float:
        return round(LEFT + (value - across[0]) / (across[-1] - across[0]) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - up[0]) / (up[-1] - up[0]) * (HEIGHT - TOP - BOTTOM), 1)

    dots = [
        {"x": x(point[cost] / unit), "y": y(point["map50_95"]), "point": point, "on": point[pareto_front]}
        for point in shown
    ]
    dots.sort(key=lambda dot: (dot["point"]["state"] == BUILT, dot["on"]))  # the last is drawn on top
    stairs = sorted((dot["x"], dot["y"]) for dot in dots if dot["on"])
    path = "".join(f"M{h} {v}" if not index else f"H{h}V{v}" for index, (h, v) in enumerate(stairs))
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "dots": dots,
        "front": path,
        "across": [{"at": x(value), "value": f"{value:g}"} for value in across],
        "up": [{"at": y(value), "value": f"{value:g}"} for value in up],
    }


def _ticks(values: list[float]) -> list[float]:
    """Returns round numbers, evenly spaced, that enclose the values."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) * 0.1 or 1.0
    power = 10 ** math.floor(math.log10(span / TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * TICKS >= span)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(step * index, 10) for index in range(first, last + 1)]
