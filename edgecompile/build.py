"""The main job: a recipe becomes a plan, its steps run, the gates are judged, the bundle is published."""

from __future__ import annotations

import json
import platform
import socket
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgecompile import repair
from edgecompile.bundle.assemble import PACKAGE, manifest_of, packaging_step, stated_gates, with_packaging
from edgecompile.bundle.documents import canonical_json
from edgecompile.bundle.float_twin import float_twin
from edgecompile.bundle.writer import copy_bundle
from edgecompile.errors import StepError
from edgecompile.evaluate import layer_coverage
from edgecompile.evaluate.gates import Verdict, judge, raise_unmet, remarks
from edgecompile.evaluate.metrics import figures_of
from edgecompile.evaluate.next_steps import Situation, next_steps
from edgecompile.evaluate.tasks import find_task
from edgecompile.execute import hardware
from edgecompile.execute.progress import Listener, show_progress
from edgecompile.execute.runner import execute
from edgecompile.execute.source_digests import Sources
from edgecompile.execute.store import Store
from edgecompile.local_plan import local_steps, prepare, unmeasured
from edgecompile.loss_by_layer import layer_loss_of
from edgecompile.plan.sensitivity_steps import quantizer_of
from edgecompile.recipe_lock import lock_document, require_locked, require_same_outputs, resolve_lock, tool_versions
from edgecompile.report.document import Report, RunSection, report_of
from edgecompile.report.evidence_view import evidence_view
from edgecompile.report.html import render_html
from edgecompile.run_dir import LOCK, PAGE, REPORT
from edgecompile.runtime.golden import RESULT
from edgecompile.runtime.measurement import Measurement

if TYPE_CHECKING:
    from edgecompile.bundle.lock import Lock, Locked
    from edgecompile.bundle.manifest import ManifestDraft
    from edgecompile.bundle.package import PackageFacts
    from edgecompile.device.remote_bench import DeviceSection
    from edgecompile.execute.entry import Entry
    from edgecompile.json_types import JsonObject
    from edgecompile.plan.graph import Materials, Plan
    from edgecompile.quantization.mixed_precision import Repair
    from edgecompile.recipe.schema import Recipe
    from edgecompile.repair import Runner
    from edgecompile.runtime.figures import Figures


Progress = Callable[["Plan"], AbstractContextManager[Listener]]
"""Shows how the steps of a plan go on, or notes it for another process to show."""
DeviceProgress = Callable[[], AbstractContextManager[Callable[[str], None]]]
"""Shows the progress of work on a device, line by line."""
Conclusion = Callable[[Report, Path], None]
"""Gets the report of a run and its directory, in the end."""


@dataclass(frozen=True)
class Built:
    """What the steps of a plan found, before the decision whether a bundle may be published.

    Attributes:
        figures: accuracy, distance and size, which equal inputs find again.
        manifest, lock: the documents of the bundle; they depend on nothing but the inputs.
        verdicts: the gates, judged.
        measured: latency, memory and power on this machine, or on the recipe's device; None where neither was measured.
        device: section of the report on the device; None where the recipe names none.
        repair: what became of INT8 that missed a gate on accuracy; None where it missed none.
    """

    recipe: Recipe
    plan: Plan
    entries: dict[str, Entry]
    figures: Figures
    manifest: ManifestDraft
    lock: Lock
    verdicts: list[Verdict]
    measured: Measurement | None
    device: DeviceSection | None = None
    repair: Repair | None = None

    def with_verdicts(self, verdicts: list[Verdict]) -> Built:
        """Returns this build with other gates."""
        manifest = self.manifest.model_copy(update={"gates": stated_gates(verdicts)})
        return replace(self, manifest=manifest, verdicts=verdicts)


@dataclass(frozen=True)
class Published:
    """A bundle in a run directory: name of its file there, sha256 of the whole file, its bytes."""

    name: str
    sha256: str
    size_bytes: int


def summarize(report: Report, run_dir: Path) -> None:
    """Prints the figures of a build and where its report lies, on stderr."""
    from edgecompile.report.terminal import print_summary

    print_summary(report, run_dir / PAGE, stream=sys.stderr)


def _shown_device() -> AbstractContextManager[Callable[[str], None]]:
    from edgecompile.device import remote_progress

    return remote_progress.show_lines()


@dataclass(frozen=True)
class Display:
    """What a person sees of a build: its steps, what goes on with a device, and how it ended."""

    steps: Progress = show_progress
    device: DeviceProgress = _shown_device
    conclusion: Conclusion = summarize


def run_build(
    recipe: Recipe,
    *,
    run_dir: Path,
    jobs: int | None = None,
    lock: Locked | None = None,
    display: Display | None = None,
    measure_again: bool = False,
) -> Path:
    """Builds the bundle of `recipe` and returns its path inside `run_dir`.

    The report of the run is written whether or not the gates are met, a bundle only if they are.

    Args:
        jobs: most steps at a time.
        lock: what the recipe must resolve to and its steps must output, as far as it states that.
        display: what a person sees; by default all, on standard error.
        measure_again: whether is measured now, also where a measurement stands.

    Raises:
        PlanError: the recipe resolves to something else than `lock`; nothing has run.
        EdgecompileError: a subclass for each way in which a build can end without a bundle.
    """
    began = time.time()
    display = display or Display()
    with closing(Store.default()) as store:  # not by a finalizer, in which a Ctrl-C would be lost
        sources = Sources(store.root / "stat")
        materials, plan = prepare(recipe)
        found_repair = lock.lock.repair if lock else None
        if found_repair:  # what a search found is in the lock: nothing is searched again
            plan = repair.resolve_repaired(recipe, materials, found_repair)
        require_locked(lock, lambda: resolve_lock(recipe, plan, materials, sources, found_repair), recipe.origins)
        require_device(recipe)
        runner = repair.runner(store, jobs, display.steps, measure_again)
        built = judged_build(recipe, plan, materials, sources, runner, found_repair)
        require_same_outputs(lock, built.lock)
        built = evaluate_gates_on_device(built, materials, store, display.device)
        return conclude(built, store, run_dir, began, display.conclusion)


def judged_build(
    recipe: Recipe,
    plan: Plan,
    materials: Materials,
    sources: Sources,
    runner: Runner,
    found_repair: Repair | None = None,
) -> Built:
    """Runs the steps of a plan and judges the gates; where INT8 misses one on accuracy, looks for a mix of INT8 and
    float that meets it, and returns the build of that, or the build as it is with the reason why there is none.

    What may be repaired is measured only when its accuracy is known: nobody needs the latency of what does not ship.

    Args:
        runner: runs plans.
        found_repair: the repair that the plan carries out.
    """
    steps = local_steps(recipe, plan)
    first = unmeasured(steps) if plan.repair else steps
    built = evaluate_gates(recipe, plan, materials, dict(runner(first, first)), sources, found_repair)
    found = None
    if repair.is_due(plan, built.verdicts, built.figures):
        found = repair.search(repair.Search(recipe, materials, plan, runner), built.figures)
        if found.chosen:
            return repaired_build(built, found, materials, sources, runner)
    if len(first.steps) < len(steps.steps):
        entries = dict(runner(steps, replace(steps, steps=tuple(step for step in steps if step.measured))))
        built = evaluate_gates(recipe, plan, materials, entries, sources)
    if found is None:
        return built
    return replace(built, repair=found, plan=replace(built.plan, notes=(*built.plan.notes, found.line)))


def repaired_build(built: Built, found: Repair, materials: Materials, sources: Sources, runner: Runner) -> Built:
    """Returns the build of the mix that a search found.

    Args:
        built: plain INT8.
        runner: runs plans.
    """
    recipe = built.recipe
    repaired = repair.resolve_repaired(recipe, materials, found)
    plan = local_steps(recipe, repaired)
    measured = repair.measured_beside_plain(plan, built.plan)
    entries = runner(measured, replace(plan, steps=repair.new_steps(plan, unmeasured(built.plan))))
    return evaluate_gates(recipe, plan, materials, {step.name: entries[step.name] for step in plan}, sources, found)


def conclude(built: Built, store: Store, run_dir: Path, began: float, conclusion: Conclusion) -> Path:
    """Publishes the bundle of a build whose gates are met; writes the report of the run in any case.

    Raises:
        GateError: a gate is not met.
    """
    met = all(verdict.met is not False for verdict in built.verdicts)
    bundle = publish(built, store, run_dir) if met else None
    conclusion(write_run(built, store, run_dir, began, bundle=bundle), run_dir)
    raise_unmet(built.verdicts, partial(next_steps, at=_situation(built)))
    assert bundle is not None, "a gate that is not met raises"
    return run_dir / bundle.name


def _situation(built: Built) -> Situation:
    """Returns what of a build says what can be tried where a gate is not met."""
    recipe, counts = built.recipe, built.plan.counts
    settings = quantizer_of(recipe)
    quantizer = next((name for name, pass_ in recipe.passes.items() if pass_ is settings), "") if settings else ""
    return Situation(
        precision=built.plan.result.precision,
        precisions=recipe.target.precisions,
        quantizer=quantizer,
        method=getattr(settings, "method", ""),
        repair=bool(getattr(settings, "repairable", False)),
        repaired=built.repair is not None,
        calibration=counts.calibration.used if counts and counts.calibration else 0,
        imgsz=max(built.manifest.model.imgsz),
    )


def require_device(recipe: Recipe) -> None:
    """Makes sure, before any step runs, that the device that a recipe names can be reached, if it names a device.

    Raises:
        EdgecompileError: see `edgecompile.device.trial.require_device`.
    """
    if recipe.device.host:
        from edgecompile.device import trial

        trial.require_device(recipe)


def evaluate_gates(
    recipe: Recipe,
    plan: Plan,
    materials: Materials,
    entries: dict[str, Entry],
    sources: Sources,
    found_repair: Repair | None = None,
) -> Built:
    """Merges what the steps found into the documents of the bundle, and judges the gates.

    Args:
        found_repair: the repair that the plan carries out.
    """
    facts: dict[str, Any] = {name: entry.facts for name, entry in entries.items()}
    measured = None
    if "measure" in entries:
        exclusive = entries["measure"].record.get("exclusive")
        measured = replace(Measurement.from_json(facts["measure"]), exclusive=exclusive)
    task = find_task(materials.task)
    figures = figures_of(
        task, facts["reference.evaluate"], facts["evaluate"], facts.get("distance"), facts.get("coverage"),
        facts.get("paired"),
    )  # fmt: skip
    on_device = recipe.target.proxy_backend() is not None or recipe.device.host is not None
    verdicts = _refused(recipe, judge(recipe.gates, figures, measured, on_device=on_device))
    lock = lock_document(recipe, plan, materials, entries, sources, found_repair)
    spec = json.loads(entries[plan.result.spec.step].path(plan.result.spec.path).read_bytes())
    notes = [*task.class_remarks(materials.names, spec["names"]), *remarks(recipe.gates, figures)]
    notes += [line for entry in entries.values() for line in entry.facts.get("warnings", ())]
    notes += layer_coverage.remarks(figures.coverage, plan.result.precision)
    notes += [found_repair.line] if found_repair else []
    plan = replace(plan, notes=(*plan.notes, *notes))
    manifest = manifest_of(
        recipe, plan, entries, figures, verdicts,
        spec=spec, weights=lock.weights, tools=tool_versions(plan), isa_class=hardware.isa_class(),
    )  # fmt: skip
    return Built(recipe, plan, entries, figures, manifest, lock, verdicts, measured, repair=found_repair)


def evaluate_gates_on_device(built: Built, materials: Materials, store: Store, progress: DeviceProgress) -> Built:
    """Tries a provisional bundle on the device that the recipe names, and judges the gates on what is found there.
    There the float model takes turns with it where the target's runtime opens that. Returns the build as it is where
    the recipe names no device.

    Raises:
        BundleError: the artifact does not run there as here.
        EdgecompileError: the device cannot be reached, or lacks something.
    """
    recipe = built.recipe
    if not recipe.device.host:
        return built
    from edgecompile.device import trial

    bundle, _ = packed(provisional(built), store)
    beside = None
    if twin := float_twin(recipe.target, built.plan, built.manifest):
        beside, _ = packed(replace(built, plan=twin[0], manifest=twin[1], verdicts=[]), store)
    pictures = [Path(path) for path in materials.validation.paths]
    with progress() as listener:
        outcome = trial.run_on_device(bundle, recipe, pictures, listener, beside)
    verdicts = _refused(recipe, judge(recipe.gates, built.figures, outcome.measurement))
    return replace(built, verdicts=verdicts, measured=outcome.measurement, device=outcome.section)


def _refused(recipe: Recipe, verdicts: list[Verdict]) -> list[Verdict]:
    """Returns the verdicts; where the recipe says so, a gate that noise leaves open is not met."""
    if not recipe.measurement.refuse_noisy:
        return verdicts
    return [replace(one, met=False) if one.noisy and one.met is None else one for one in verdicts]


def provisional(built: Built) -> Built:
    """Returns the build as it goes to the device: without the gates that are judged on what is found there."""
    return built.with_verdicts([verdict for verdict in built.verdicts if not verdict.measured])


def packed(built: Built, store: Store) -> tuple[Path, PackageFacts]:
    """Packs the bundle, as a step like any other, and returns its path in the store and the facts of the step. What is
    measured is no part of it."""
    manifest = built.manifest.to_json()
    report = report_of(manifest, built.lock.recipe, built.plan, built.entries, built.verdicts, repair=built.repair)
    step = packaging_step(built.plan, manifest=manifest, lock=built.lock.to_json(), report=cast("JsonObject", report))
    entry = execute(with_packaging(unmeasured(built.plan), step), store)[PACKAGE]
    facts = cast("PackageFacts", entry.facts)
    return entry.path(facts["bundle"]), facts


def publish(built: Built, store: Store, run_dir: Path) -> Published:
    """Packs the bundle and puts a copy into `run_dir`.

    Raises:
        StepError: the store or the run directory cannot be written.
    """
    bundle, facts = packed(built, store)
    copy_bundle(bundle, run_dir / bundle.name)
    return Published(bundle.name, facts["sha256"], facts["size_bytes"])


def write_run(built: Built, store: Store, run_dir: Path, began: float, *, bundle: Published | None) -> Report:
    """Writes what differs from run to run beside the bundle: the full report, with where and when it ran. Returns it.

    Where no bundle holds it, the lock too: so that what failed its gates can be compared and built again.
    """
    run: RunSection = {
        "started": datetime.fromtimestamp(began, timezone.utc).isoformat(timespec="seconds"),
        "wall_s": round(time.time() - began, 3),
        "host": socket.gethostname(),
        "python": platform.python_version(),
    }
    if bundle:
        run["bundle"] = {"name": bundle.name, "sha256": bundle.sha256, "size_bytes": bundle.size_bytes}
    report = report_of(
        built.manifest.to_json(), built.lock.recipe, built.plan, built.entries, built.verdicts,
        measured=built.measured.to_json() if built.measured else None, run=run, device=built.device,
        repair=built.repair, layer_loss=layer_loss_of(built.plan, store),
    )  # fmt: skip
    golden, model = built.entries["golden"], report["model"]
    page = render_html(
        report,
        picture=golden.path("input.png").read_bytes(),
        result=json.loads(golden.path(RESULT).read_bytes()),
        evidence=evidence_view(built.plan["evaluate"], built.entries, model["task"], model["names"]),
    )
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / REPORT).write_bytes(canonical_json(report))
        (run_dir / PAGE).write_text(page, encoding="utf-8")
        if not bundle:  # a bundle holds it
            (run_dir / LOCK).write_bytes(built.lock.to_bytes())
    except OSError as error:
        raise StepError(f"the report cannot be written to {run_dir}: {error.strerror}") from error
    return report


def resolved(recipe: Recipe) -> Lock:
    """Returns the lock of `recipe`: what it resolves to here and now. Runs no step.

    Raises:
        EdgecompileError: a subclass for each way in which a recipe can be without a plan, or a tool missing.
    """
    materials, plan = prepare(recipe)
    return resolve_lock(recipe, plan, materials, Sources(Store.default().root / "stat"))
