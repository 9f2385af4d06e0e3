"""Repairs a build whose INT8 misses a gate on accuracy: ranks the blocks, and builds mixes of INT8 and float until one
meets it. Each mix is a recipe that says what stays in float, planned and judged as every recipe is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgecompile.errors import PlanError, StepError
from edgecompile.evaluate.gates import NOTHING_FOUND, accuracy_gates, accuracy_room, judge
from edgecompile.evaluate.metrics import figures_of
from edgecompile.evaluate.tasks import find_task
from edgecompile.execute.progress import Event, Listener
from edgecompile.execute.runner import execute
from edgecompile.plan.resolve import resolve
from edgecompile.plan.sensitivity_steps import SENSITIVITY, quantizer_of
from edgecompile.plan.step import Output
from edgecompile.quantization import mixed_precision
from edgecompile.quantization.mixed_precision import Candidate, Repair
from edgecompile.quantization.sensitivity_document import FILE, Sensitivity, read_sensitivity

if TYPE_CHECKING:
    from edgecompile.evaluate.gates import Verdict
    from edgecompile.execute.entry import Entry
    from edgecompile.execute.store import Store
    from edgecompile.plan.graph import Materials, Plan
    from edgecompile.plan.step import Step
    from edgecompile.recipe.schema import Recipe
    from edgecompile.runtime.figures import Figures
    from edgecompile.targets import Target

MEASURE = "measure"
JUDGED_BY = ("reference.evaluate", "evaluate", "distance", "paired")
"""Steps by which the accuracy of a mix is judged; the others run for the one that ships."""


Runner = Callable[["Plan", "Plan"], Mapping[str, "Entry"]]
"""Runs a plan, of which the steps of a second one are shown, and returns their results."""


@dataclass(frozen=True)
class Search:
    """What a search works with."""

    recipe: Recipe
    materials: Materials
    plan: Plan
    execute: Runner


def runner(
    store: Store,
    jobs: int | None,
    show: Callable[[Plan], AbstractContextManager[Listener]],
    measure_again: bool = False,
) -> Runner:
    """Returns what runs the plans of a search.

    Args:
        show: shows how the steps of a plan go on.
        measure_again: whether is measured now, also where a measurement stands.
    """

    def run(plan: Plan, new: Plan) -> Mapping[str, Entry]:
        names = {step.name for step in new}
        with show(new) as listener:

            def listen(event: Event) -> None:
                if event.step.name in names:
                    listener(event)

            return execute(plan, store, jobs=jobs, progress=listen, measure_again=measure_again)

    return run


def is_due(plan: Plan, verdicts: list[Verdict], figures: Figures) -> bool:
    """Whether a gate on accuracy is not met, and the plan says how INT8 is repaired."""
    gates = accuracy_gates(find_task(plan.task))
    sees = figures.float_accuracy >= NOTHING_FOUND
    return sees and bool(plan.repair) and any(verdict.met is False and verdict.gate in gates for verdict in verdicts)


def with_candidate(recipe: Recipe, candidate: Candidate) -> Recipe:
    """Returns a recipe that builds a mix, and repairs nothing.

    Raises:
        PlanError: it has no pass that quantizes so.
    """
    settings = quantizer_of(recipe)
    if settings is None:
        raise PlanError("a repair is stated, and the recipe has no pass that leaves parts of a model in float")
    name = next(name for name, pass_ in recipe.passes.items() if pass_ is settings)
    kept = tuple(dict.fromkeys((*settings.keep_float, *candidate.keep_float)))
    changes = {**candidate.changes, "keep_float": kept, "repair": "off"}
    mixed = type(settings).model_validate({**settings.model_dump(), **changes})
    return recipe.model_copy(update={"passes": {**recipe.passes, name: mixed}}).with_origins(recipe.origins)


def resolve_repaired(recipe: Recipe, materials: Materials, found: Repair) -> Plan:
    """Returns the plan of a recipe with the mix that a search chose.

    Raises:
        PlanError: the search chose none, or as `resolve`.
    """
    if found.chosen is None:
        raise PlanError("the lock states a repair none of whose mixes met its gate")
    return resolve(with_candidate(recipe, found.chosen), materials)


def new_steps(plan: Plan, before: Plan) -> tuple[Step, ...]:
    """Returns the steps of a plan that another does not have, and those that read what they put out."""
    known = {step.name: step for step in before}
    new: dict[str, Step] = {}
    for step in plan:
        if known.get(step.name) != step or not new.keys().isdisjoint(step.needs):
            new[step.name] = step
    return tuple(new.values())


def measured_beside_plain(plan: Plan, plain: Plan) -> Plan:
    """Returns the plan of a repaired build whose artifact is measured in turns with plain INT8 too, which says what the
    repair cost. It has the steps of plain INT8 under names of their own; the plan as it is where it measures nothing.

    Args:
        plain: the plan of plain INT8, whose steps the store has.
    """
    if all(step.name != MEASURE for step in plan):
        return plan
    artifact, spec = plain.result.artifact, plain.result.spec
    known = {step.name: step for step in plan}
    names: dict[str, str] = {}
    twins = []

    def renamed(output: Output) -> Output:
        return replace(output, step=names[output.step])

    for step in plain.needed_by({artifact.step, spec.step}):
        names[step.name] = step.name
        inputs = {name: renamed(one) if isinstance(one, Output) else one for name, one in step.inputs.items()}
        if known.get(step.name) != step or inputs != dict(step.inputs):
            names[step.name] = f"plain.{step.name}"
            twins.append(step.renamed(names[step.name], inputs))
    measure = known[MEASURE]
    beside = replace(measure, inputs={**measure.inputs, "plain": renamed(artifact), "plain_spec": renamed(spec)})
    return replace(plan, steps=(*(step for step in plan if step.name != MEASURE), *twins, beside))


def search(subject: Search, figures: Figures) -> Repair:
    """Ranks the blocks and tries mixes, and returns what came of it.

    Args:
        figures: of plain INT8.
    """
    gate, allowed = accuracy_room(subject.recipe.gates, figures)
    settings = quantizer_of(subject.recipe)
    limits, target = settings.repair_limits, subject.recipe.target
    gain = target.int8_gain
    tried: list[Candidate] = []
    nothing = Sensitivity(0.0, (), ())
    if hopeless := out_of_reach(gate, allowed, figures):
        conclusion = _conclusion(nothing, figures, gate, allowed, [], target, limits.max_slowdown)
        return replace(conclusion, why_not=hopeless)
    try:
        found = _ranked(subject)
    except StepError as error:  # such as a task that cannot compare two results: INT8 then is what it was without
        conclusion = _conclusion(nothing, figures, gate, allowed, [], target, limits.max_slowdown)
        return replace(conclusion, why_not=f"no block could be ranked: {error.problems[0].message}")
    for candidate in mixed_precision.choices(
        found, figures.lost, allowed, gain, limits.candidates, limits.max_slowdown, settings.method
    ):
        tried.append(_judged(subject, candidate))
        if tried[-1].met:
            break
    return _conclusion(found, figures, gate, allowed, tried, target, limits.max_slowdown)


def out_of_reach(gate: str, allowed: float, figures: Figures) -> str:
    """Returns why no mix of INT8 and float can meet a gate, not even one without a loss; "" where one may.

    Args:
        gate, allowed: as `accuracy_room` returns them.
    """
    if allowed >= 0:
        return ""
    if gate == figures.main:
        return f"the float model itself has {figures.float_accuracy:.4f}, below gates.{gate}"
    return (
        f"the standard error of the drop on {figures.pictures} pictures alone exceeds the limit at gates.confidence, "
        "whatever stays in float: validate on more pictures"
    )


def _ranked(subject: Search) -> Sensitivity:
    """Runs the ranking."""
    plan = subject.plan
    steps = replace(plan, steps=(*plan.steps, *plan.repair)).needed_by([SENSITIVITY])
    entries = subject.execute(steps, replace(plan, steps=plan.repair))
    return read_sensitivity(entries[SENSITIVITY].path(FILE))


def _judged(subject: Search, candidate: Candidate) -> Candidate:
    """Builds a mix as far as its accuracy needs, and judges that."""
    mixed = resolve(with_candidate(subject.recipe, candidate), subject.materials)
    needed = mixed.needed_by(JUDGED_BY)
    entries = subject.execute(needed, replace(needed, steps=new_steps(needed, subject.plan)))
    task = find_task(subject.materials.task)
    facts: dict[str, Any] = {name: entry.facts for name, entry in entries.items()}
    figures = figures_of(
        task, facts["reference.evaluate"], facts["evaluate"], facts.get("distance"), None, facts.get("paired")
    )
    names = accuracy_gates(task)
    limits = {name: limit for name, limit in subject.recipe.gates if name in {*names, "confidence"}}
    met = all(verdict.met is not False for verdict in judge(limits, figures))
    return replace(candidate, accuracy=figures.accuracy, met=met)


def _conclusion(
    found: Sensitivity,
    figures: Figures,
    gate: str,
    allowed: float,
    tried: list[Candidate],
    target: Target,
    max_slowdown: float,
) -> Repair:
    met = bool(tried) and tried[-1].met
    return Repair(
        gate=gate,
        allowed=round(allowed, 6),
        plain_accuracy=figures.accuracy,
        plain_drop=round(figures.lost, 6),
        loss=found.loss,
        candidates=tuple(tried),
        blocks=mixed_precision.precisions(found, tried[-1] if met else None),
        why_not="" if met else mixed_precision.why_not(found, tried, target.int8_gain, max_slowdown),
        max_slowdown=max_slowdown,
        float_precision=target.float_beside_int8,
    )
