"""What a sweep prints in a terminal when it has ended. Rich is imported when something is printed, never before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from edgecompile.report import number_format
from edgecompile.report.terminal import write
from edgecompile.sweep.sweep_point import Sweep

if TYPE_CHECKING:
    from rich.console import RenderableType

NOISY = " noisy"


def print_sweep(sweep: Sweep, page: Path | None = None, *, stream: TextIO) -> None:
    """Prints the points of a sweep as a table, why some failed, the verdicts, and where the report lies.

    Args:
        sweep: what `edgecompile.sweep.sweep_results.sweep_of` returned.
        page: report.html, named at the end.
        stream: where to print.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    figures = (sweep.accuracy_title, "drop", "p50", "p95", "of float", "size")
    for title in ("point", "precision", "overrides", *figures, "state"):
        number = title in figures
        table.add_column(title, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for point in sweep.points:
        cells = (
            point.point,
            point.precision or number_format.NONE,
            " ".join(point.varies),
            number_format.score(point.figures.accuracy if point.figures else None),
            number_format.drop(point.figures),
            number_format.milliseconds(point.latency_p50_ms) + (NOISY if point.noise else ""),
            number_format.milliseconds(point.latency_p95_ms),
            f"{point.speedup['ratio']:.2f}x" if point.speedup else number_format.NONE,
            number_format.megabytes(point.size_bytes),
        )
        state = Text(point.state, "green" if point.state == "built" else "bold red")
        table.add_row(*map(Text, cells), state)
    blocks: list[RenderableType] = [table]
    blocks += [Text(f"{point.point}: {line}", "red") for point in sweep.points for line in point.problems]
    names = [device.title for device in sweep.devices]
    for device in sweep.devices:
        judged = f", judged on {_data(device.judged_on)}" if names.count(device.title) > 1 else ""
        blocks.append(Text(f"{device.title}{judged}: {device.verdict}", "bold"))
        blocks += [Text(f"  {line}") for line in device.because]
    blocks += [Text(line, "bold") for line in sweep.fleet]
    if sweep.sharing:
        blocks.append(Text(sweep.sharing.line))
    if page:
        blocks.append(Text(f"report: {page}"))
    write(blocks, stream)


def _data(judged_on: Mapping[str, Any]) -> str:
    """Returns the pictures that points were judged on, in short."""
    split = (judged_on.get("validation") or {}).get("split")
    return f"'{split}' of {judged_on.get('path')}"
