"""What a build and a plan print in a terminal. Rich is imported when something is printed, never before.

Texts come from recipes and data sets, so rich gets them as text, never as its markup; and a terminal that cannot show
a character gets a question mark rather than an error.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from edgecompile.data.counts import counts_from, describe
from edgecompile.evaluate.gates import proof_words
from edgecompile.report import number_format, repair_cost
from edgecompile.report.document import Report, confidence_of
from edgecompile.runtime.figures import figures_from
from edgecompile.text import escape

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgecompile.plan.graph import Plan

PIPE_WIDTH = 160
"""Columns where the output is no terminal."""
FALLEN = 3
"""How many of the classes that fell most are named."""
Line = tuple[str, str, str]
"""Title, figure, remark."""


def print_summary(report: Report, page: Path | None = None, *, stream: TextIO) -> None:
    """Prints the figures of a build, its gates, and where the report lies.

    Args:
        report: what `edgecompile.report.document.report_of` returned, of the run directory's variant.
        page: report.html, named at the end.
        stream: where to print.
    """
    from rich.table import Table
    from rich.text import Text

    marks = {True: Text("✓", "green"), False: Text("✕", "bold red"), None: Text("…", "yellow")}
    lines = Table.grid(padding=(0, 2))
    for title, figure, remark in (*_accuracy(report), *_measured(report), *_pictures(report), *_made(report)):
        lines.add_row(Text(title, "dim"), Text(figure, "bold"), Text(remark))
    gates = Table.grid(padding=(0, 2))
    figures, confidence = figures_from(report["figures"]), confidence_of(report)
    for verdict in report["gates"]:
        name = verdict["gate"]
        mark = marks[verdict["met"]]
        shown = number_format.unjudged(verdict) or number_format.gate_figure(name, verdict["figure"])
        judged = Text(shown, "bold red" if verdict["met"] is False else "")
        limit = Text(number_format.gate_limit(name, verdict["limit"]), "dim")
        gates.add_row(mark, Text(f"gate {name}"), judged, limit, Text(proof_words(verdict, figures, confidence)))
    head = Text.assemble((report["name"], "bold"), f", {report['precision']} for {report['target']['device']}")
    blocks: list[RenderableType] = [head, lines]
    if report["gates"]:
        blocks.append(gates)
    blocks += [Text(f"note: {note}", "yellow") for note in report["notes"]]
    blocks += [Text(f"note: {line}", "bold yellow") for line in repair_cost.cost_remarks(report)]
    blocks += [Text(f"noisy: {line}", "bold yellow") for line in _noise(report)]
    if bundle := (report["run"] or {}).get("bundle"):
        size = number_format.megabytes(bundle["size_bytes"])
        blocks.append(Text(f"bundle: {bundle['name']}, {size}, sha256 {bundle['sha256']}"))
    if page:
        blocks.append(Text(f"report: {page}"))
    write(blocks, stream)


def _accuracy(report: Report) -> Iterator[Line]:
    """Yields the lines on accuracy and size: what equal inputs find again."""
    figures = figures_from(report["figures"])
    for name, after in figures.metrics.items():
        before = figures.reference[name]
        change = f"float {number_format.score(before)}, {number_format.change(figures, name)}"
        yield figures.title(name), number_format.score(after), change
    fallen = [fall for fall in report["falls"] if fall["artifact"] < fall["reference"]][:FALLEN]
    if fallen:
        shown = (f"{fall['name']} {number_format.signed(fall['artifact'] - fall['reference'])}" for fall in fallen)
        yield "fell most", "", ", ".join(shown)
    yield from number_format.score_lines(figures.scores)
    if coverage := figures.coverage:
        precision = report["precision"]
        share, layers = (
            write(coverage, precision) for write in (number_format.coverage_share, number_format.coverage_layers)
        )
        yield f"in {precision}", share, f"of operations, {layers}"
    reference = report["reference_size_bytes"]
    yield (
        "size",
        number_format.megabytes(figures.size_bytes),
        f"float {number_format.megabytes(reference)}" if reference else "",
    )


def _measured(report: Report) -> Iterator[Line]:
    """Yields the lines on latency and memory, and the machine they hold for."""
    measured = report["measured"]
    if not measured:
        return
    if not measured["latency_ms"]:
        yield (
            "latency",
            number_format.NONE,
            f"not measured: {(measured.get('unmeasured') or {}).get('latency_p95_ms', '')}",
        )
        return
    total = measured["latency_ms"]["total"]
    tail = f"p95 {number_format.milliseconds(total['p95'])}, p99 {number_format.milliseconds(total['p99'])}"
    noisy = "noisy: " if number_format.noise(measured) else ""
    yield "latency", number_format.milliseconds(total["p50"]), f"{noisy}{tail}"
    if found := measured.get("speedup"):
        words = f"{report['precision'].upper()} is {number_format.speedup(measured)}"
        other = f"{found['against']}, p50 {number_format.milliseconds(found['reference_p50_ms'])}"
        yield "speed-up", f"{found['ratio']:.2f}x", f"{words}; in turns with {other}"
    elif reason := (measured.get("unmeasured") or {}).get("speedup"):
        yield "speed-up", number_format.NONE, reason
    if cost := repair_cost.cost_line(report):
        yield "repair", "", cost
    yield "throughput", number_format.number(measured["fps"], 1, " FPS"), "one picture after another"
    if stream := measured.get("stream"):
        yield "stream", number_format.number(stream["fps"], 1, " FPS"), number_format.stream_line(stream)
    peak = number_format.number(measured["peak_memory_mb"], 0, " MB")
    yield "peak memory", peak, number_format.memory_remark(measured)
    if measured["power_watt"]:
        yield "power", number_format.number(measured["power_watt"], 1, " W"), number_format.efficiency(measured)
    device = report.get("device")
    where = f"{device['address']}, {device['board'] or device['host']}: " if device else ""
    yield "", "", f"measured on {where}{number_format.machine_line(measured)}"
    for line in (number_format.evidence(measured), number_format.exclusive_line(measured)):
        if line:
            yield "", "", line


def _noise(report: Report) -> Iterator[str]:
    """Yields why latency is noisy, what of it was not judged, and what to do."""
    noise = number_format.noise(report["measured"])
    if not noise:
        return
    yield f"latency and throughput do not stand, and are not kept: {noise}"
    left_open = [gate["gate"] for gate in report["gates"] if gate.get("noisy") and gate["met"] is None]
    if left_open:
        yield f"not judged, for noise may have turned them: {', '.join(f'gates.{name}' for name in left_open)}"
    yield "build again when the machine is quiet: all else is reused, and only latency is measured anew"


def _pictures(report: Report) -> Iterator[Line]:
    """Yields the lines on the pictures: how many were found, used and left out."""
    if report["data"]:
        for title, numbers in describe(counts_from(report["data"])):
            yield title, "", numbers


def _made(report: Report) -> Iterator[Line]:
    """Yields the line on what ran."""
    run = report["run"]
    if not run:
        return
    states = [step["run"]["state"] for step in report["steps"] if step["run"]]
    took = f" in {number_format.seconds(run['wall_s'])}" if "wall_s" in run else ""
    yield "steps", f"{states.count('ran')} ran", f"{states.count('reused')} reused{took}"


def print_plan(plan: Plan, states: Sequence[Any], *, stream: TextIO) -> None:
    """Prints a plan as a table: each step under its stage, whether the store has it, and why or why not.

    Args:
        states: what `edgecompile.execute.plan_status` returned for the plan.
        stream: where to print.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("stage", "step", "", "why"):
        table.add_column(title, overflow="fold", no_wrap=title != "why")
    stage = None
    for state in states:
        step = state.step
        shown = "" if step.stage == stage else step.stage.value
        stage = step.stage
        verdict = Text("reuse", "green") if state.hit else Text("run", "bold yellow")
        why = Text(state.why)
        if step.about:
            why = Text.assemble((step.about, "dim"), "\n", state.why)
        table.add_row(Text(shown, "dim"), Text(step.name), verdict, why)
    hits = sum(state.hit for state in states)
    saved = sum(state.seconds or 0 for state in states if state.hit)
    total = f"{len(states)} steps: {hits} reused, {len(states) - hits} to run"
    remark = f"; {number_format.seconds(saved)} saved" if saved else ""
    data = [Text(f"{title}: {numbers}") for title, numbers in describe(plan.counts)] if plan.counts else []
    write(
        [
            table,
            Text(f"task: {plan.task}"),
            *data,
            Text(total + remark),
            *(Text(line) for line in _conditional(plan)),
            *(Text(f"note: {note}", "yellow") for note in plan.notes),
        ],
        stream,
    )


def _conditional(plan: Plan) -> Iterator[str]:
    """Yields the line on steps that run only where a gate on accuracy is not met."""
    if plan.repair:
        names = ", ".join(step.name for step in plan.repair)
        mixes = f"then up to {plan.repair_candidates} mixes of INT8 and float are built and judged"
        yield f"only where a gate on accuracy is not met: {names}; {mixes}"


def _shown_only(block: RenderableType) -> RenderableType:
    """Escapes all texts of a block, which may come from outside. The lines of a cell are its own."""
    from rich.table import Table
    from rich.text import Text

    if isinstance(block, Text):
        block.plain = escape(block.plain)
    if isinstance(block, Table):
        for cell in (cell for column in block.columns for cell in column.cells):
            if isinstance(cell, Text):
                cell.plain = escape(cell.plain, keep="\n")
    return block


def write(blocks: Iterable[RenderableType], stream: TextIO) -> None:
    """Renders for the width and the colours of `stream`, and writes what its encoding can represent."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        console = Console(file=io.StringIO(), highlight=False, width=PIPE_WIDTH)
    with console.capture() as captured:
        for block in map(_shown_only, blocks):
            console.print(block, soft_wrap=isinstance(block, Text))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    lines = (line.rstrip() for line in captured.get().splitlines())
    stream.write("".join(f"{line}\n" for line in lines).encode(encoding, "replace").decode(encoding))
    stream.flush()
