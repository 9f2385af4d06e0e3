"""The geometry of accuracy against latency and against size: plain numbers that the template draws. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from edgecompile.report.plots import Axis, Tick, round_numbers
from edgecompile.sweep.fleet import HOST
from edgecompile.sweep.sweep_point import BUILT, SweepPoint
from edgecompile.sweep.verdict import Cost

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 36
"""Margins around the plot, in SVG units; the axes' numbers stand in them."""
LINE = 11
"""Height of a line of text, SVG units."""
LONGEST_NAME = 18
"""Characters of a name beside a dot: they fill less than half of the plot."""
MOST_NAMES = 14
"""Points of a plot that are named; the names of more would cover it. All have theirs under the pointer."""
MOST_FLOATS = 3
"""Float models that are drawn as lines, the most accurate."""


@dataclass(frozen=True)
class Dot:
    """A point of a sweep at its place in the plot, SVG units; `on` whether it is on the front, `label_y` where its name
    is written, which is moved up or down where another name would lie under it."""

    x: float
    y: float
    point: SweepPoint
    on: bool
    label_y: float = 0.0

    @property
    def label(self) -> str:
        """The number of the point and what sets it apart most, in short."""
        number = self.point.point.partition("_")[0]
        varies = [word for word in self.point.varies if not word.startswith(HOST)]  # the heading names the device
        words = " ".join(word.rpartition("=")[2] for word in varies) or self.point.precision or ""
        return f"{number} {words}" if len(words) <= LONGEST_NAME else f"{number} {words[: LONGEST_NAME - 1]}…"

    @property
    def anchor(self) -> str:
        """On which side of the dot its name stands: the side on which there is room."""
        return "start" if self.x < (LEFT + WIDTH - RIGHT) / 2 else "end"

    @property
    def label_x(self) -> float:
        return self.x + 8 if self.anchor == "start" else self.x - 8


@dataclass(frozen=True)
class Scatter:
    """A plot: its size and edges, the dots, the stairs of the front as an SVG path, and the ticks of both axes.

    Attributes:
        floats: the accuracy of the float models that the points were made of, as lines.
        named: whether names fit beside the dots.
    """

    dots: tuple[Dot, ...]
    front: str
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    floats: tuple[Tick, ...] = ()
    named: bool = True
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def scatter(
    points: Iterable[SweepPoint], cost: Cost, on_front: Callable[[SweepPoint], bool], unit: float = 1
) -> Scatter | None:
    """Lays out the points that have a cost: it grows to the right, accuracy upwards. None where there are not two: one
    dot compares with nothing.

    Args:
        points: of one device.
        cost: what stands against accuracy.
        on_front: whether a point is on the front of the two.
        unit: of the ticks, in that of the cost.
    """
    known = [(paid / unit, point) for point in points if (paid := cost(point)) is not None]
    if len(known) < 2:
        return None
    across = round_numbers([paid for paid, _ in known])
    floats = sorted({point.figures.float_accuracy for _, point in known if point.figures})[-MOST_FLOATS:]
    up = round_numbers([*(point.accuracy for _, point in known), *floats])
    x = Axis(across[0], across[-1], LEFT, WIDTH - RIGHT)
    y = Axis(up[0], up[-1], HEIGHT - BOTTOM, TOP)
    dots = [Dot(x.at(paid), y.at(point.accuracy), point, on_front(point)) for paid, point in known]
    dots = _labelled(dots)
    dots.sort(key=lambda dot: (dot.point.state == BUILT, dot.on))  # the last is drawn on top
    stairs = sorted((dot.x, dot.y) for dot in dots if dot.on)
    path = "".join(f"M{h} {v}" if not index else f"H{h}V{v}" for index, (h, v) in enumerate(stairs))
    return Scatter(
        dots=tuple(dots),
        front=path,
        across=x.ticks(across),
        up=y.ticks(up),
        floats=tuple(Tick(y.at(value), f"float {value:.4f}") for value in floats),
        named=len(dots) <= MOST_NAMES,
    )


def _labelled(dots: list[Dot]) -> list[Dot]:
    """Returns the dots with their names at heights at which no two names on one side of the plot overlap."""
    taken: dict[str, list[float]] = {}
    placed = []
    for dot in sorted(dots, key=lambda dot: dot.y):
        heights = taken.setdefault(dot.anchor, [])
        height = max(dot.y + 4, heights[-1] + LINE) if heights else dot.y + 4
        heights.append(min(height, HEIGHT - BOTTOM + LINE))
        placed.append(replace(dot, label_y=round(heights[-1], 1)))
    return placed
