"""What a sweep would run: the plans of all its points as one graph, and what the store has of it. Runs no step."""

from __future__ import annotations

import gc
import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from edgecompile.data.counts import describe
from edgecompile.errors import EdgecompileError, Problem, RecipeError
from edgecompile.execute.plan_status import StepState, plan_status, usual_seconds
from edgecompile.execute.source_digests import Sources
from edgecompile.execute.store import Store
from edgecompile.local_plan import local_steps
from edgecompile.plan.resolve import resolve
from edgecompile.plan.shared import SharedSteps, by_stage
from edgecompile.recipe.materials import find_materials
from edgecompile.recipe.picture_materials import Files
from edgecompile.text import tell, to_json

if TYPE_CHECKING:
    from edgecompile.plan.graph import Materials
    from edgecompile.sweep.points import Point, Points

EXPLAINED = 500
"""Number of steps up to which the plan says what is new about each that the store lacks."""
DRAWN = 400
"""Number of steps up to which the graph is drawn; Mermaid itself draws no more than 500 arrows."""


@dataclass(frozen=True)
class Planned:
    """A point with its place in the graph.

    Attributes:
        steps: numbers of its steps in `SweepPlan.states`; none where it is invalid.
        problems, exit_code: why it is invalid, and what its job would end with.
        notes: remarks of its plan.
        data: what its data set holds, as lines for people.
    """

    number: int
    overrides: tuple[str, ...]
    name: str | None
    steps: tuple[int, ...]
    problems: tuple[Problem, ...] = ()
    exit_code: int = 0
    notes: tuple[str, ...] = ()
    data: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepPlan:
    """All points of a sweep and the different steps they consist of.

    Attributes:
        states: the different steps, and what would happen to each; see `edgecompile.execute.plan_status`.
        uses: how many points have each step.
        usual: seconds that a step of a function usually took, as far as the store remembers.
        notes: remarks of the plans of its points, each once.
        data: what the data sets of its points hold: pictures found, used and left out; each line once.
    """

    points: Sequence[Planned]
    states: Sequence[StepState]
    uses: Sequence[int]
    usual: Mapping[str, float]
    notes: Sequence[str]
    data: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """The worst of its points."""
        return max((point.exit_code for point in self.points), default=0)

    def problems(self) -> dict[str, list[int]]:
        """Returns each different problem with the numbers of the points that have it, the most frequent first."""
        numbers: dict[str, list[int]] = {}
        for point in self.points:
            for problem in point.problems:
                numbers.setdefault(str(problem), []).append(point.number)
        return dict(sorted(numbers.items(), key=lambda item: -len(item[1])))


def plan_sweep(sweep: Points, store: Store) -> SweepPlan:
    """Plans all points of a sweep.

    Raises:
        RecipeError: a point cannot be composed, so none would run; a source cannot be read.
    """
    planner = _Planner(Sources(store.root / "stat"))
    shared = planner.shared
    points = [planner.plan(point) for point in sweep]
    states = plan_status(shared.steps, store, sources=planner.sources, explain=len(shared.steps) <= EXPLAINED)
    notes = dict.fromkeys(note for point in points for note in point.notes)
    data = dict.fromkeys(line for point in points for line in point.data)
    functions = {step.function for step in shared.steps}
    usual = {name: seconds for name in functions if (seconds := usual_seconds(name, store)) is not None}
    return SweepPlan(points, states, shared.uses, usual, tuple(notes), tuple(data))


@contextmanager
def _all_stay() -> Iterator[None]:
    """Collects no garbage meanwhile, nor later among what was made meanwhile: all of many small objects stay, and going
    through them again and again takes a quarter more time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


class Shared(NamedTuple):
    """What points that are planned alike have in common; see `Planned`."""

    steps: tuple[int, ...]
    notes: tuple[str, ...]
    data: tuple[str, ...]


@dataclass
class _Planner:
    """Plans one point after another: finds the files that several points name once, and plans equal points once."""

    sources: Sources
    _materials: dict[Hashable, Materials | EdgecompileError] = field(default_factory=dict)
    _plans: dict[Hashable, Shared | EdgecompileError] = field(default_factory=dict)
    _files: Files = field(default_factory=Files)

    def __post_init__(self) -> None:
        self.shared = SharedSteps(lambda source: self.sources.of(source).digest)

    def plan(self, point: Point) -> Planned:
        """Returns a point with its steps, or with what is wrong with it."""
        if point.recipe is None:
            return Planned(point.number, point.overrides, None, (), point.problems, 2)
        if point.alike not in self._plans:
            try:
                plan = local_steps(point.recipe, resolve(point.recipe, self._materials_of(point)))
                data = [f"{purpose}: {numbers}" for purpose, numbers in describe(plan.counts)] if plan.counts else []
                self._plans[point.alike] = Shared(self.shared.add(plan), plan.notes, tuple(data))
            except EdgecompileError as error:
                self._plans[point.alike] = error
        planned = self._plans[point.alike]
        name = point.recipe.name
        if isinstance(planned, EdgecompileError):
            return Planned(point.number, point.overrides, name, (), planned.problems, planned.exit_code)
        for step in planned.steps:
            self.shared.uses[step] += 1
        return Planned(point.number, point.overrides, name, planned.steps, notes=planned.notes, data=planned.data)

    def _materials_of(self, point: Point) -> Materials:
        """Returns the files of a point.

        Raises:
            RecipeError: they are missing or malformed.
        """
        assert point.recipe is not None
        if point.files not in self._materials:
            try:
                self._materials[point.files] = find_materials(point.recipe, self._files)
            except EdgecompileError as error:
                self._materials[point.files] = error
        materials = self._materials[point.files]
        if isinstance(materials, EdgecompileError):
            raise materials
        return materials


def show_sweep_plan(sweep: Points, *, as_json: bool = False, mermaid: bool = False) -> int:
    """Prints to stdout what a sweep would run, and returns the exit code: that of the worst of its points.

    Raises:
        RecipeError: a point cannot be composed; a source cannot be read; too many steps to draw.
    """
    with _all_stay():
        store = Store.default()
        store.warn_reader()
        plan = plan_sweep(sweep, store)
        for note in sweep.notes:
            tell(f"edgecompile: warning: {note}", file=sys.stderr)
        _show(plan, as_json=as_json, mermaid=mermaid)
    return plan.exit_code


def _show(plan: SweepPlan, *, as_json: bool, mermaid: bool) -> None:
    if as_json:
        from edgecompile.sweep.plan_table import sweep_plan_document

        print(to_json(sweep_plan_document(plan)))
    elif mermaid:
        from edgecompile.report.mermaid import mermaid_of

        if len(plan.states) > DRAWN:
            raise RecipeError(f"{len(plan.states)} different steps are too many to draw", fix=f"up to {DRAWN} are")
        print(mermaid_of(by_stage(state.step for state in plan.states)))
    else:
        from edgecompile.sweep.plan_table import print_sweep_plan

        print_sweep_plan(plan, stream=sys.stdout)
