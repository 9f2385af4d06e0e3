"""The geometry of the page's drawings: plain numbers that the templates draw. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecompile.evaluate.tasks import Outline, WholeLabel
from edgecompile.report.document import ReportedStep, StepRun
from edgecompile.runtime.figures import Figures
from edgecompile.runtime.measured_gates import GateDocument
from edgecompile.runtime.measurement import MeasurementDocument

WIDTH, ROW, HEADING = 350, 30, 26
SPINE, NEAREST, FARTHEST = 68, 14, 60
"""Stage graph, in SVG units: its width, the height of a step and of a stage's heading; x of the line of steps, and how
far the arcs at its left bulge."""
PARTS = ("preprocess", "inference", "postprocess")
COLOURS = 8
MANY_CLASSES = 12


@dataclass(frozen=True)
class ClassRow:
    """One class: how many objects there are, each metric of the float model and of the artifact, and the change of the
    main metric; None for what is not known."""

    name: str
    objects: float | int | None
    pairs: tuple[tuple[float | None, float | None], ...]

    @property
    def change(self) -> float | None:
        before, after = self.pairs[0]
        return None if before is None or after is None else after - before


def per_class(figures: Figures, names: Sequence[str]) -> list[ClassRow]:
    """Returns a row for each class that occurs, with each metric in the order of `figures.metrics`.

    Few classes are in the order of their numbers, that of `names`; many are sorted by how much they fell.
    """
    numbers = {name: number for number, name in enumerate(names)}
    rows = []
    for name in sorted(figures.per_class, key=lambda name: (numbers.get(name, len(numbers)), name)):
        before, after = figures.reference_per_class.get(name, {}), figures.per_class[name]
        pairs = tuple((before.get(metric), after[metric]) for metric in figures.metrics)
        rows.append(ClassRow(name, after.get("objects"), pairs))
    if len(rows) > MANY_CLASSES:
        rows.sort(key=lambda row: (row.change is None, row.change or 0.0, row.name))
    return rows


def gate_bar(verdict: GateDocument) -> dict[str, float] | None:
    """Returns the length of a gate's bar and the place of its limit, in percent of the track; None without a figure."""
    figure, limit = verdict["figure"], verdict["limit"]
    if figure is None:
        return None
    span = 1.25 * max(abs(figure), abs(limit)) or 1.0
    return {"length": round(100 * max(figure, 0) / span, 2), "limit": round(100 * max(limit, 0) / span, 2)}


@dataclass(frozen=True)
class LatencyRow:
    """A part of a prediction: milliseconds by rank, and the same in percent of the track."""

    name: str
    ranks: Mapping[str, float]
    share: Mapping[str, float]


def latency_bars(measured: MeasurementDocument | None) -> list[LatencyRow]:
    """Returns the bars of the latency chart: parts and total, each from 0 to p50, p95 and p99, in percent of the track.

    The track ends at the largest p99. There are no bars where nothing was measured.
    """
    latency = measured.get("latency_ms") if measured else None
    if not latency:
        return []
    span = max(part["p99"] for part in latency.values()) or 1.0
    return [
        LatencyRow(name, latency[name], {rank: round(100 * latency[name][rank] / span, 2) for rank in RANKS})
        for name in (*PARTS, "total")
        if name in latency
    ]


RANKS = ("p50", "p95", "p99")


@dataclass(frozen=True)
class Node:
    """A step at its height, SVG units."""

    name: str
    about: str
    run: StepRun | None
    needs: tuple[str, ...]
    y: int


@dataclass(frozen=True)
class Heading:
    """A stage at its height, SVG units."""

    stage: str
    y: int


@dataclass(frozen=True)
class StageGraph:
    """The drawing of the steps: its size, x of their line, and the arcs as SVG paths."""

    height: int
    nodes: tuple[Node, ...]
    headings: tuple[Heading, ...]
    arcs: tuple[str, ...]
    width: int = WIDTH
    spine: int = SPINE


def stage_graph(steps: Sequence[ReportedStep]) -> StageGraph:
    """Lays the steps out on one line from top to bottom, under headings of their stages, joined by arcs at its left.

    One line is readable on a phone, and no arc ever crosses a name. A step that needs the step right above it is joined
    by a straight line; an arc bulges the more, the farther it reaches.
    """
    y, stage = 0, None
    nodes: list[Node] = []
    headings: list[Heading] = []
    for step in steps:
        if step["stage"] != stage:
            stage = step["stage"]
            headings.append(Heading(stage, y + HEADING - 8))
            y += HEADING
        nodes.append(Node(step["name"], step["about"], step["run"], tuple(step["needs"]), y + ROW // 2))
        y += ROW
    place = {node.name: index for index, node in enumerate(nodes)}
    arcs = [
        _arc(nodes[place[need]].y, node.y, index - place[need], len(nodes))
        for index, node in enumerate(nodes)
        for need in node.needs
        if need in place
    ]
    return StageGraph(y + 8, tuple(nodes), tuple(headings), tuple(arcs))


def _arc(top: int, bottom: int, distance: int, steps: int) -> str:
    """Returns the path from the dot at `top` to the dot at `bottom`, `distance` steps below it."""
    if distance == 1:
        return f"M{SPINE} {top}V{bottom}"
    bulge = NEAREST + (FARTHEST - NEAREST) * (distance - 2) / max(steps - 3, 1)
    # A cubic reaches 3/4 of the way to its control points.
    x = round(SPINE - bulge * 4 / 3, 1)
    return f"M{SPINE} {top}C{x} {top} {x} {bottom} {SPINE} {bottom}"


@dataclass(frozen=True)
class Shape:
    """What is drawn around an object: points of an SVG polygon, class, number of its colour, score."""

    points: str
    name: str
    colour: int
    score: float


@dataclass(frozen=True)
class LegendEntry:
    """A class on the golden picture, number of its colour, and how many of it there are, or how probable it is for the
    whole picture: "3", "0.93"."""

    name: str
    colour: int
    amount: str


@dataclass(frozen=True)
class GoldenView:
    """What is drawn on the golden picture, and the classes, those with most first, or the most probable."""

    shapes: tuple[Shape, ...]
    legend: tuple[LegendEntry, ...]


def golden_view(
    outlines: Sequence[Outline], names: Sequence[str], whole_labels: Sequence[WholeLabel] = ()
) -> GoldenView:
    """Returns what is drawn on the golden picture, how many there are of each class, and what the whole picture is."""
    shapes = tuple(
        Shape(
            points=" ".join(f"{x:.6g},{y:.6g}" for x, y in outline.corners),
            name=_class_name(outline.class_id, names),
            colour=outline.class_id % COLOURS,
            score=outline.score,
        )
        for outline in outlines
    )
    counts = Counter(shape.name for shape in shapes)
    colours = {shape.name: shape.colour for shape in reversed(shapes)}
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    legend = [LegendEntry(name, colours[name], str(count)) for name, count in ranked]
    whole = [
        LegendEntry(_class_name(label.class_id, names), label.class_id % COLOURS, f"{label.score:.2f}")
        for label in whole_labels
    ]
    return GoldenView(shapes, (*legend, *whole))


def _class_name(number: int, names: Sequence[str]) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


def png_size(picture: bytes) -> tuple[int, int]:
    """Returns width and height from the header of a PNG (ISO/IEC 15948, 11.2.2).

    Raises:
        ValueError: it is no PNG.
    """
    if picture[:8] != b"\x89PNG\r\n\x1a\n" or picture[12:16] != b"IHDR" or len(picture) < 24:
        raise ValueError("not a PNG")
    return int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")
