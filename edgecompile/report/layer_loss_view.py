"""Where the error of an artifact enters, layer by layer: plain numbers that the template draws. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgecompile.plan.facts import LayerLoss
from edgecompile.plan.layer_loss_step import FLOATS
from edgecompile.report.document import Report
from edgecompile.report.plots import Axis, Bar, Plot, round_numbers, whole_numbers

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 38
"""Margins around the plot, in SVG units; numbers and names of the axes stand in them."""
LISTED = 10
"""Layers that the page lists, those in which most error enters; report.json has all."""


@dataclass(frozen=True)
class LayerRow:
    """A layer that is listed: its number in the order of the graph, from 1, and how much the error grows in it."""

    number: int
    layer: LayerLoss
    entered: float


@dataclass(frozen=True)
class LayerLossView:
    """The plot of all layers and those in which most error enters; or why there are none, and the command that tells
    more. `endless` names layers whose numbers are not finite."""

    plot: Plot | None = None
    rows: tuple[LayerRow, ...] = ()
    layers: int = 0
    endless: tuple[str, ...] = ()
    why: str = ""
    command: str = ""
    about: str = ""


def layer_loss_view(report: Report) -> LayerLossView | None:
    """Returns what to draw of the layers of a run; None for the report in a bundle, which holds nothing of a run."""
    if report.get("run") is None:
        return None
    section = report.get("layer_loss")
    if section is None:
        why = "the run is of an earlier version, which did not compare them"
        return LayerLossView(
            why=why, command="edgecompile build my-recipe.yaml", about="builds it again, from the store"
        )
    layers = section["layers"]
    if not layers:
        return _without(report, section["why"])
    known = [(number, one, one["error"]) for number, one in enumerate(layers, 1) if one["error"] is not None]
    rows = [LayerRow(number, one, error - (one["before"] or 0.0)) for number, one, error in known]
    rows.sort(key=lambda row: -row.entered)
    endless = tuple(one["layer"] for one in layers if one["error"] is None)
    plot = _plot([(number, one, error) for number, one, error in known], len(layers))
    return LayerLossView(plot, tuple(rows[:LISTED]), len(layers), endless)


def _without(report: Report, why: str) -> LayerLossView:
    if report["precision"] == "int8":
        about = "simulates which blocks and layers lose most in INT8"
        return LayerLossView(why=why, command="edgecompile sensitivity my-recipe.yaml", about=about)
    run = report["run"] or {}
    bundle = run["bundle"]["name"] if "bundle" in run else "BUNDLE"
    command = f"edgecompile diagnose {bundle} --layers FLOAT"
    return LayerLossView(
        why=why, command=command, about="compares its layers with those of a bundle of the float model"
    )


def _plot(known: list[tuple[int, LayerLoss, float]], layers: int) -> Plot:
    title, unit, over = "distance from the float model", "% of the float numbers", "layer, in the order of the graph"
    frame = Plot(title, unit, WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM, over)
    up = round_numbers([0, *(100 * error for _, _, error in known)])
    x, y = Axis(1, layers + 1, frame.left, frame.right), Axis(0, up[-1], frame.bottom, frame.top)
    width = round(max((frame.right - frame.left) / layers - 0.6, 0.4), 1)
    bars = tuple(
        Bar(
            x.at(number),
            y.at(100 * error),
            width,
            round(frame.bottom - y.at(100 * error), 1),
            "peak" if one["precision"] in FLOATS else "main",
            f"{number}: {one['layer']}, {one['precision']}, {100 * error:.2f} %",
        )
        for number, one, error in known
    )
    return replace(frame, bars=bars, across=x.ticks(whole_numbers(1, layers)), up=y.ticks(up))
