"""What a person sees while a plan runs: on a terminal a table that moves, elsewhere a line for each step that ended."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from edgecompile.plan.step import Step
from edgecompile.plan.step_progress import StepProgress
from edgecompile.run_dir import PROGRESS, read_json, write_json
from edgecompile.text import escape, tell

if TYPE_CHECKING:
    from rich.table import Table

    from edgecompile.plan.graph import Plan


class State(str, Enum):
    """Where a step is."""

    WAITING = "waiting"
    RUNNING = "running"
    REUSED = "reused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Event:
    """Something that happened to a step.

    Attributes:
        step: which.
        state: where it is now.
        wall_seconds: how long it ran, once it is known; for a reused result, how long it took back then.
        peak_memory_mb: likewise.
        detail: for a person: whom it waits for, why it failed.
        far: how far a step is that runs and says so.
    """

    step: Step
    state: State
    wall_seconds: float | None = None
    peak_memory_mb: int | None = None
    detail: str = ""
    far: StepProgress | None = None


Listener = Callable[[Event], None]


BAR_WIDTH = 16
"""Characters of the bar of a step that says how far it is."""
LINE_S = 30.0
"""Seconds between two lines of such a step, where there is no terminal."""


@contextmanager
def show_progress(plan: Plan, *, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Listener]:
    """Shows the progress of a plan while the body runs; yields what `execute` takes as `progress`.

    Args:
        plan: what runs.
        quiet: whether to show nothing at all.
        stream: where to; None for standard error.
    """
    stream = stream or sys.stderr
    if quiet:
        yield lambda event: None
    elif stream.isatty():
        with _table(plan, stream) as listener:
            yield listener
    else:
        yield _lines(plan, stream)


@contextmanager
def noted(plan: Plan, folder: Path) -> Iterator[Listener]:
    """Notes the progress of a plan in `folder`, for whoever shows that of a sweep; yields what `execute` takes.

    What stands in the note already is kept, and what a plan that ran before in this job counted is added to. Keys:
    total (steps), run, reused, saved_s (how long those that were reused took when they were made), now (the step that
    began last).
    """
    note = folder / PROGRESS
    before = read_json(note) or {}
    counts = {name: before.get(name, 0) for name in ("run", "reused", "saved_s")}
    record = {**before, **counts, "total": before.get("total", 0) + len(plan.steps), "now": None}

    def listen(event: Event) -> None:
        if event.state is State.RUNNING:
            record["now"] = event.step.name
        elif event.state is State.DONE:
            record["run"] += 1
        elif event.state is State.REUSED:
            record["reused"] += 1
            record["saved_s"] = round(record["saved_s"] + (event.wall_seconds or 0.0), 3)
        with suppress(OSError):  # the report, which comes last, says that the run directory cannot be written
            write_json(note, record)

    yield listen


def _lines(plan: Plan, stream: TextIO) -> Listener:
    total, ended, lock = len(plan.steps), 0, threading.Lock()
    due: dict[str, float] = {}

    def listen(event: Event) -> None:
        nonlocal ended
        if event.state is State.RUNNING and event.far:
            with lock:
                if time.monotonic() >= due.get(event.step.name, 0.0):
                    due[event.step.name] = time.monotonic() + LINE_S
                    tell(f"[{ended}/{total}] {event.step.name}: {_far(event.far)}", file=stream)
        if event.state in (State.RUNNING, State.CANCELLED):
            return
        with lock:
            ended += event.state is not State.WAITING
            figures = ", ".join(part for part in (_seconds(event), _memory(event)) if part)
            text = event.detail or f"{event.state.value} ({figures})"
            tell(f"[{ended}/{total}] {event.step.name}: {text}", file=stream)

    return listen


@contextmanager
def _table(plan: Plan, stream: TextIO) -> Iterator[Listener]:
    from rich.console import Console
    from rich.live import Live

    rows = _Rows(plan)
    with Live(get_renderable=rows.render, console=Console(file=stream), refresh_per_second=4):
        yield rows.listen


MARKS = {
    State.WAITING: "[yellow]waits[/]",
    State.RUNNING: "[cyan]runs[/]",
    State.REUSED: "[dim]reused[/]",
    State.DONE: "[green]done[/]",
    State.FAILED: "[red]failed[/]",
    State.CANCELLED: "[dim]cancelled[/]",
}


class _Rows:
    """The table: one row for each step, drawn again four times a second."""

    def __init__(self, plan: Plan) -> None:
        self._events: dict[str, Event | None] = dict.fromkeys(step.name for step in plan.steps)
        self._stages = {step.name: step.stage.value for step in plan.steps}
        self._began: dict[str, float] = {}

    def listen(self, event: Event) -> None:
        self._events[event.step.name] = event
        if event.state is State.RUNNING and event.far is None:
            self._began[event.step.name] = time.monotonic()

    def render(self) -> Table:
        from rich.markup import escape as without_markup
        from rich.table import Table

        table = Table("step", "stage", "state", box=None, pad_edge=False, header_style="dim")
        table.add_column("time", justify="right")
        table.add_column("peak memory", justify="right")
        for name, event in self._events.items():
            state = MARKS[event.state] if event else "[dim]–[/]"  # noqa: RUF001 - a dash, as a table has it
            if event and event.detail and event.state is State.WAITING:
                state = f"{state} [dim]{without_markup(escape(event.detail))}[/]"
            if event and event.far:
                state = f"{state} {_bar(event.far)} [dim]{without_markup(escape(_far(event.far)))}[/]"
            table.add_row(
                without_markup(escape(name)), self._stages[name], state, self._time(name, event), _memory(event)
            )
        return table

    def _time(self, name: str, event: Event | None) -> str:
        if event and event.state is State.RUNNING:
            return f"{time.monotonic() - self._began[name]:.0f} s"
        return _seconds(event)


def _bar(far: StepProgress) -> str:
    """Returns the share that is done as a bar, in rich's markup."""
    full = round(BAR_WIDTH * min(far.done / far.total, 1))
    return f"[cyan]{'━' * full}[/][dim]{'━' * (BAR_WIDTH - full)}[/]"


def _far(far: StepProgress) -> str:
    """Returns how far a step is, as in "120 of 300, loss 0.31, 2:05 left"."""
    parts = [f"{far.done} of {far.total}", far.words]
    if far.seconds_left is not None and far.done < far.total:
        minutes, seconds = divmod(far.seconds_left, 60)
        parts.append(f"{minutes}:{seconds:02} left")
    return ", ".join(part for part in parts if part)


def _seconds(event: Event | None) -> str:
    if event is None or event.wall_seconds is None:
        return ""
    saved = "saved " if event.state is State.REUSED else ""
    return f"{saved}{event.wall_seconds:.1f} s"


def _memory(event: Event | None) -> str:
    return f"{event.peak_memory_mb} MB" if event and event.peak_memory_mb is not None else ""
