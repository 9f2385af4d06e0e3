"""report.json, schema 1: what was built, how good it is, what each step did. Pure: plain data in, plain data out.

There are two variants. The bundle's holds only what equal inputs reproduce, so `measured`, `run` and `device` are null
and no step states how long it took. The run directory's holds those too, with the machine they were measured on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, cast

from edgecompile.evaluate.gates import CONFIDENCE
from edgecompile.json_types import JsonObject
from edgecompile.plan.facts import LayerLoss
from edgecompile.plan.graph import Plan
from edgecompile.plan.step import Source, Stage, Step
from edgecompile.report.sentences import sentences
from edgecompile.runtime.figures import figures_from
from edgecompile.runtime.layer_profile import LayerProfileDocument
from edgecompile.runtime.measured_gates import GateDocument, Verdict
from edgecompile.runtime.measurement import MachineDocument, MeasurementDocument

if TYPE_CHECKING:
    from edgecompile.execute.entry import Entry
    from edgecompile.quantization.mixed_precision import Repair

SCHEMA = 1
MAKING = (Stage.EXPORT, Stage.FUSION, Stage.CALIBRATION, Stage.QUANTIZATION, Stage.COMPILATION)
"""Stages whose steps make the artifact; the others judge and pack it."""
FROM_MANIFEST = (
    "name",
    "description",
    "created_by",
    "target",
    "precision",
    "model",
    "data",
    "tools",
    "isa_class",
    "figures",
)


class StepRun(TypedDict):
    """How a step went: whether it ran now, and time and memory of the run that made its output."""

    state: str
    wall_s: float | None
    peak_memory_mb: float | None


class ReportedStep(TypedDict):
    """One step: what it is, what it did, and in the run directory's variant how it went."""

    name: str
    stage: str
    about: str
    needs: list[str]
    measured: bool
    key: str | None
    output: str | None
    size_bytes: int | None
    makes: bool
    did: list[str]
    run: StepRun | None


class Fall(TypedDict):
    """The main metric of one class, of the float model and of the artifact."""

    name: str
    reference: float
    artifact: float


class PublishedBundle(TypedDict):
    """The bundle that a run published."""

    name: str
    sha256: str
    size_bytes: int


class RunSection(TypedDict, total=False):
    """What a run was: when it started (ISO time), how long it took, where; the bundle where it was published."""

    started: str
    wall_s: float
    host: str
    python: str
    bundle: PublishedBundle


class LayersSection(TypedDict):
    """The times of layers that `bench --layers` found here after the build, and the machine."""

    profile: LayerProfileDocument
    machine: MachineDocument


class LayerLossSection(TypedDict):
    """How far each layer is from the float model's, on the golden picture; or why that is not known."""

    layers: list[LayerLoss]
    why: str


class LaterFindings(TypedDict, total=False):
    """Sections of report.json that not every report has: `layers`, what was found of the bundle later, which no build
    writes; and `layer_loss`, which only a run directory holds."""

    layer_loss: LayerLossSection
    layers: LayersSection


class Report(LaterFindings):
    """report.json. It holds sections of the manifest unchanged."""

    schema: int
    name: str
    description: str
    created_by: str
    target: Mapping[str, Any]
    precision: str
    model: Mapping[str, Any]
    data: JsonObject | None
    tools: dict[str, str]
    isa_class: str
    figures: JsonObject
    gates: list[GateDocument]
    falls: list[Fall]
    reference_size_bytes: int | None
    recipe: JsonObject
    steps: list[ReportedStep]
    notes: list[str]
    measured: MeasurementDocument | None
    run: RunSection | None
    device: Mapping[str, Any] | None
    repair: JsonObject | None


def report_of(
    manifest: JsonObject,
    recipe: JsonObject,
    plan: Plan,
    entries: Mapping[str, Entry],
    verdicts: Iterable[Verdict],
    *,
    measured: MeasurementDocument | None = None,
    run: RunSection | None = None,
    device: Mapping[str, Any] | None = None,
    repair: Repair | None = None,
    layer_loss: LayerLossSection | None = None,
) -> Report:
    """Returns the report of a build as plain JSON.

    Args:
        manifest: what `edgecompile.bundle.assemble.manifest_of` returned (gates may be unmet).
        recipe: the recipe as plain data, without paths (the `recipe` of the lock).
        entries: step name to its entry in the store; a step may be missing where the build ended before it.
        verdicts: what `edgecompile.evaluate.gates.judge` returned.
        measured: facts of the step `measure`; None for the bundle's variant.
        run: what this run was; None for the bundle's variant.
        device: what was found on the device (`edgecompile.device.remote_bench`); None for the bundle's variant.
        repair: what became of INT8 that missed a gate on accuracy; None where it missed none.
        layer_loss: where the error enters; None for the bundle's variant.
    """
    whole = measured is not None or run is not None
    steps = [_step(step, entries.get(step.name), whole) for step in plan if whole or not step.measured]
    stated = {key: manifest[key] for key in FROM_MANIFEST}
    report = {
        "schema": SCHEMA,
        **stated,
        "gates": [verdict.for_report() if whole else verdict.for_manifest() for verdict in verdicts],
        "falls": [
            Fall(name=name, reference=before, artifact=after)
            for name, before, after in figures_from(cast("JsonObject", manifest["figures"])).falls()
        ],
        "reference_size_bytes": _reference_size(entries),
        "recipe": dict(recipe),
        "steps": steps,
        "notes": list(plan.notes),
        "measured": measured,
        "run": run,
        "device": dict(device) if device is not None else None,
        "repair": {**repair.to_json(), "line": repair.line, "statement": repair.statement} if repair else None,
        **({"layer_loss": layer_loss} if layer_loss else {}),
    }
    return cast("Report", report)


def confidence_of(report: Report) -> float | None:
    """Returns how sure the recipe of a report asks drops to be within their limits; None where it does not ask."""
    gates = report["recipe"].get("gates")
    confidence = gates.get(CONFIDENCE) if isinstance(gates, Mapping) else None
    return confidence if isinstance(confidence, float) else None


def _reference_size(entries: Mapping[str, Entry]) -> int | None:
    """Returns the bytes of the float model's files, for comparison with the artifact's."""
    entry = entries.get("reference.evaluate")
    return entry.facts.get("size_bytes") if entry else None


def _step(step: Step, entry: Entry | None, whole: bool) -> ReportedStep:
    made = entry if not step.measured else None
    return {
        "name": step.name,
        "stage": step.stage.value,
        "about": step.about,
        "needs": list(step.needs),
        "measured": step.measured,
        "key": made.key if made else None,
        "output": made.digest if made else None,
        "size_bytes": sum(size for _, size in made.files.values()) if made else None,
        "makes": step.stage in MAKING,
        "did": sentences(made.facts) if made and step.stage in MAKING else [],
        "run": _how(entry) if whole else None,
    }


def _how(entry: Entry | None) -> StepRun:
    return {
        "state": "missing" if entry is None else "ran" if entry.fresh else "reused",
        "wall_s": entry.record.get("wall_seconds") if entry else None,
        "peak_memory_mb": entry.record.get("peak_memory_mb") if entry else None,
    }


def plan_document(recipe: Any, plan: Plan, states: Iterable[Any]) -> dict[str, Any]:
    """Returns a plan as plain JSON, for programs: `edgecompile plan --json`.

    Args:
        recipe: the `Recipe` of the plan; the document states its name.
        states: what `edgecompile.execute.plan_status` returned for the plan.
    """
    steps = [planned_step(state) for state in states]
    return {
        "schema": SCHEMA,
        "name": recipe.name,
        "device": recipe.target.device,
        "precision": plan.result.precision,
        "artifact": {"step": plan.result.artifact.step, "path": plan.result.artifact.path},
        "reused": sum(step["hit"] for step in steps),
        "to_run": sum(not step["hit"] for step in steps),
        "data": plan.counts.as_json() if plan.counts else None,
        "notes": list(plan.notes),
        "steps": steps,
        "if_accuracy_is_missed": {
            "steps": [step.name for step in plan.repair],
            "most_candidates": plan.repair_candidates,
        },
    }


def planned_step(state: Any) -> dict[str, Any]:
    """Returns one step of a plan and what would happen to it now."""
    step: Step = state.step
    return {
        "name": step.name,
        "stage": step.stage.value,
        "about": step.about,
        "function": step.function,
        "version": step.version,
        "params": dict(step.params),
        "needs": list(step.needs),
        "sources": {name: value.name for name, value in step.inputs.items() if isinstance(value, Source)},
        "tools": list(step.tools),
        "isa": step.isa,
        "measured": step.measured,
        "key": state.key,
        "hit": state.hit,
        "why": state.why,
        "seconds": state.seconds,
    }
