"""report.json, schema 1: what was built, how good it is, what each step did. Pure: plain data in, plain data out.

There are two variants. The bundle's holds only what equal inputs find again, so `measured`, `run` and `device` are null
and no step says how long it took. The run directory's holds those too, with the machine they were found on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgecompile.plan.graph import Plan
from edgecompile.plan.step import Source, Stage, Step
from edgecompile.report.sentences import sentences
from edgecompile.runtime.figures import figures_from

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


def report_of(
    manifest: Mapping[str, Any],
    recipe: Mapping[str, Any],
    plan: Plan,
    entries: Mapping[str, Any],
    verdicts: Iterable[Any],
    *,
    measured: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    device: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the report of a build as plain JSON.

    Args:
        manifest: what `edgecompile.bundle.assemble.manifest_of` returned (gates may be unmet).
        recipe: the recipe as plain data, without paths (the `recipe` of the lock).
        entries: step name to its entry in the store; a step may be missing where the build ended before it.
        verdicts: what `edgecompile.evaluate.gates.judge` returned.
        measured: facts of the step `measure`; None for the bundle's variant.
        run: what this run was; None for the bundle's variant. Keys, all optional: `started` (ISO time), `wall_s`,
            `host`, `python`, and `bundle` ({"name", "sha256", "size_bytes"}, missing where none was published).
        device: what was found on the device (`edgecompile.device.remote_bench`); None for the bundle's variant.
    """
    whole = measured is not None or run is not None
    steps = [_step(step, entries.get(step.name), whole) for step in plan]
    return {
        "schema": SCHEMA,
        **{key: manifest[key] for key in FROM_MANIFEST},
        "gates": [verdict.for_report() if whole else verdict.for_manifest() for verdict in verdicts],
        "falls": [
            {"name": name, "reference": before, "artifact": after}
            for name, before, after in figures_from(manifest["figures"]).falls()
        ],
        "reference_size_bytes": _reference_size(entries),
        "recipe": dict(recipe),
        "steps": steps,
        "notes": list(plan.notes),
        "measured": dict(measured) if measured is not None else None,
        "run": dict(run) if run is not None else None,
        "device": dict(device) if device is not None else None,
    }


def _reference_size(entries: Mapping[str, Any]) -> int | None:
    """Returns the bytes of the float model's files, for comparison with the artifact's."""
    entry = entries.get("reference.evaluate")
    return entry.facts.get("size_bytes") if entry else None


def _step(step: Step, entry: Any, whole: bool) -> dict[str, Any]:
    """Returns one step: what it is, what it did, and in the run directory's variant how it went."""
    reproducible = entry is not None and not step.measured
    return {
        "name": step.name,
        "stage": step.stage.value,
        "about": step.about,
        "needs": list(step.needs),
        "measured": step.measured,
        "key": entry.key if reproducible else None,
        "output": entry.digest if reproducible else None,
        "size_bytes": sum(size for _, size in entry.files.values()) if reproducible else None,
        "makes": step.stage in MAKING,
        "did": sentences(entry.facts) if reproducible and step.stage in MAKING else [],
        "run": _how(entry) if whole else None,
    }


def _how(entry: Any) -> dict[str, Any]:
    """Returns how a step went: whether it ran now, and time and memory of the run that made its output."""
    record = entry.record if entry else {}
    return {
        "state": "missing" if entry is None else "ran" if entry.fresh else "reused",
        "wall_s": record.get("wall_seconds"),
        "peak_memory_mb": record.get("peak_memory_mb"),
    }


def plan_document(recipe: Any, plan: Plan, states: Iterable[Any]) -> dict[str, Any]:
    """Returns a plan as plain JSON, for programs: `edgecompile plan --json`.

    Args:
        recipe: the `Recipe` it was made from; its name is taken over.
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
