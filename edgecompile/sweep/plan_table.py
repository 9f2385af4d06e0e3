"""What `plan -m` prints on a sweep: for people a table of steps and why points are invalid, for programs JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from edgecompile.plan.shared import by_stage
from edgecompile.plan.step import Step
from edgecompile.report import number_format
from edgecompile.report.document import planned_step
from edgecompile.report.terminal import write

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA = 1
MOST_PROBLEMS = 20
MOST_NOTES = 10
MOST_POINTS = 24
"""Points up to which each is listed."""


def sweep_plan_document(plan: Any) -> dict[str, Any]:
    """Returns a planned sweep as plain JSON, for programs: `edgecompile plan -m --json`.

    Args:
        plan: an `edgecompile.sweep.sweep_plan.SweepPlan`.

    Returns:
        `steps`: the different steps, as in the plan of one point, with `points`, how many have it. `points`: of
        each its number, overrides and name, the indices of its steps, its problems and the exit code they mean.
        `problems`: each different problem with the numbers of its points.
    """
    hits = sum(state.hit for state in plan.states)
    return {
        "schema": SCHEMA,
        "valid": sum(not point.problems for point in plan.points),
        "invalid": sum(bool(point.problems) for point in plan.points),
        "steps_in_points": sum(plan.uses),
        "different_steps": len(plan.states),
        "reused": hits,
        "to_run": len(plan.states) - hits,
        "notes": list(plan.notes),
        "data": list(plan.data),
        "problems": [{"problem": text, "points": numbers} for text, numbers in plan.problems().items()],
        "steps": [planned_step(state) | {"points": uses} for state, uses in zip(plan.states, plan.uses, strict=True)],
        "points": [
            {
                "number": point.number,
                "name": point.name,
                "overrides": list(point.overrides),
                "steps": list(point.steps),
                "exit_code": point.exit_code,
                "problems": [str(problem) for problem in point.problems],
            }
            for point in plan.points
        ],
    }


def print_sweep_plan(plan: Any, *, stream: TextIO) -> None:
    """Prints the different steps of a sweep by name, what the store has of them, and why points are invalid.

    Args:
        plan: an `edgecompile.sweep.sweep_plan.SweepPlan`.
        stream: where to print.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    invalid = sum(bool(point.problems) for point in plan.points)
    blocks: list[RenderableType] = []
    if plan.states:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for title in ("stage", "step"):
            table.add_column(title, no_wrap=True)
        for title in ("in points", "different", "shared", "reuse", "run"):
            table.add_column(title, justify="right", no_wrap=True)
        stage = None
        for row in _rows(plan.states, plan.uses):
            shown = "" if row[0] == stage else row[0]
            stage = row[0]
            table.add_row(Text(shown, "dim"), *map(Text, row[1:-1]), Text(row[-1], "bold yellow" if row[-1] else ""))
        blocks.append(table)
    if len(plan.points) <= MOST_POINTS:
        blocks += [Text(line) for line in _points(plan)]
    blocks += [Text(line) for line in (*plan.data, *_totals(plan))]
    for number, (text, points) in enumerate(plan.problems().items()):
        if number == MOST_PROBLEMS:
            rest = len(plan.problems()) - MOST_PROBLEMS
            blocks.append(Text(f"and {rest} more kinds of problems; --json names them all", "red"))
            break
        blocks.append(Text(f"{_count(len(points), 'point')}: {text}", "red"))
    blocks += [Text(f"note: {note}", "yellow") for note in plan.notes[:MOST_NOTES]]
    if len(plan.notes) > MOST_NOTES:
        blocks.append(Text(f"and {len(plan.notes) - MOST_NOTES} more notes; --json has them all", "yellow"))
    verdict = f"{_count(len(plan.points), 'point')}: {len(plan.points) - invalid:,} valid, {invalid:,} invalid"
    write([*blocks, Text(verdict, "bold")], stream)


def _rows(states: Sequence[Any], uses: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """Yields stage, name, and the counts of the steps that plans call by one name."""
    groups: dict[str, list[tuple[Any, int]]] = {}
    by_name = {state.step.name: (state, count) for state, count in zip(states, uses, strict=True)}
    for step in by_stage(state.step for state in states):
        groups.setdefault(_plain_name(step), []).append(by_name[step.name])
    for name, group in groups.items():
        hits = sum(state.hit for state, _ in group)
        total, different = sum(count for _, count in group), len(group)
        counts = (total, different, total - different, hits, different - hits)
        yield (group[0][0].step.stage.value, name, *(f"{count:,}" if count else "" for count in counts))


def _plain_name(step: Step) -> str:
    """Returns what the plan of a point calls a step."""
    return step.name.partition("#")[0]


def _points(plan: Any) -> Iterator[str]:
    """Yields a line for each point: what it would run that no point before it does."""
    known: set[int] = set()
    common = set.intersection(*(set(point.overrides) for point in plan.points)) if len(plan.points) > 1 else set()
    for point in plan.points:
        varies = " ".join(word.lstrip("+") for word in point.overrides if word not in common)
        if point.problems:
            yield f"{point.number:3} {varies}: invalid"
            continue
        runs = [step for step in point.steps if step not in known and not plan.states[step].hit]
        known.update(point.steps)
        yield f"{point.number:3} {varies}: {len(runs)} to run, {len(point.steps) - len(runs)} reused or shared"


def _totals(plan: Any) -> Iterator[str]:
    """Yields the sums: steps, what sharing saves, and how long the rest takes, where the store remembers such steps."""
    total, different = sum(plan.uses), len(plan.states)
    hits = sum(state.hit for state in plan.states)
    if not total:
        return
    yield (
        f"{_count(total, 'step')} in the points, {different:,} different: {hits:,} in the store, "
        f"{different - hits:,} to run; sharing saves {total - different:,} runs"
    )
    left = [plan.usual.get(state.step.function) for state in plan.states if not state.hit]
    if left and None not in left:
        saved = sum(_seconds(state, plan.usual) * (count - 1) for state, count in _counted(plan))
        yield (
            f"about {number_format.seconds(sum(left))} to run, one after another, as such steps took here; "
            f"sharing saves {number_format.seconds(saved)}"
        )


def _counted(plan: Any) -> Iterable[tuple[Any, int]]:
    return zip(plan.states, plan.uses, strict=True)


def _seconds(state: Any, usual: Mapping[str, float]) -> float:
    return state.seconds if state.seconds is not None else usual.get(state.step.function, 0.0)


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
