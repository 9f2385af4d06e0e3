"""From what a build found to the documents of its bundle. Pure: reads nothing, runs nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import JsonValue

from edgecompile import __version__
from edgecompile.bundle.lock import Lock, LockedData, LockedPicture, LockedReading, LockedResult, LockedStep, lock_from
from edgecompile.bundle.manifest import (
    DataFacts,
    File,
    Gate,
    Golden,
    ManifestDraft,
    NamedDigest,
    Precision,
    StepDigest,
    TargetFacts,
    Tolerance,
    Vectors,
    Weights,
)
from edgecompile.bundle.manifest import Figures as FiguresSection
from edgecompile.errors import PlanError
from edgecompile.execute.canonical_json import plain
from edgecompile.json_types import JsonObject
from edgecompile.plan.graph import Materials, Plan
from edgecompile.plan.step import Input, Output, Source, Stage, Step
from edgecompile.runtime.figures import Figures
from edgecompile.runtime.golden import RESULT

if TYPE_CHECKING:
    from edgecompile.evaluate.gates import Verdict
    from edgecompile.execute.entry import Entry
    from edgecompile.execute.source_digests import SourceDigest
    from edgecompile.quantization.mixed_precision import Repair
    from edgecompile.recipe.schema import Recipe
    from edgecompile.targets import Target

DETECT = "detect"
PACKAGE = "package"
"""Name of the packaging step."""
TOOLS = ("jinja2", "PyYAML")
"""Distributions that write the page and the lock, and so affect the bytes of a bundle."""
NOT_ARTIFACT = ("facts.json", "spec.json")
"""Files that may lie beside an artifact that is a whole folder, and are not part of it."""
INSIDE_PACKAGE = "sample://"
"""How a recipe names what is embedded in this package: the same on every machine, unlike any other path."""


def manifest_of(
    recipe: Recipe,
    plan: Plan,
    entries: Mapping[str, Entry],
    figures: Figures,
    verdicts: Iterable[Verdict],
    *,
    spec: Mapping[str, Any],
    weights: NamedDigest,
    tools: Mapping[str, str],
    isa_class: str,
) -> ManifestDraft:
    """Returns the manifest of a bundle, without `files` (the writer fills them in).

    Args:
        recipe: the recipe that was built.
        entries: step name to its entry in the store.
        figures: of the artifact.
        verdicts: what `edgecompile.evaluate.gates.judge` returned.
        spec: the spec.json of the artifact.
        weights: the file that the build began with.
        tools: distribution to version, of all that the steps used.
        isa_class: instruction-set class of the machine that built.
    """
    height, width = spec["letterbox"]["size"]
    return ManifestDraft(
        schema=1,
        format="edgecompile-bundle",
        name=recipe.name,
        description=recipe.description,
        created_by=f"edgecompile {__version__}",
        target=target_facts(recipe.target, plan.result.precision),
        precision=cast("Precision", plan.result.precision),
        model=Weights(weights=weights, task=spec["task"], imgsz=(height, width), names=list(spec["names"])),
        data=DataFacts.model_validate(plan.counts.as_json()) if plan.counts else None,
        tools={**tools, "edgecompile": __version__},
        isa_class=isa_class,
        figures=FiguresSection.model_validate(figures.to_json()),
        gates=stated_gates(verdicts),
        golden=_golden(entries["golden"]),
        steps=[
            StepDigest(
                name=step.name, stage=step.stage.value, key=entries[step.name].key, output=entries[step.name].digest
            )
            for step in plan
            if not step.measured
        ],
    )


def stated_gates(verdicts: Iterable[Verdict]) -> list[Gate]:
    """Returns the gates as a manifest states them."""
    return [Gate.model_validate(verdict.for_manifest()) for verdict in verdicts]


def _golden(entry: Entry) -> Golden:
    """Returns the golden vectors of the step `golden`, and how far other machines' outputs may be from them."""
    vectors = _vectors(entry.files, "")
    points: tuple[Literal["min"], Literal["max"]] = ("min", "max")
    return Golden(
        input=vectors.input,
        outputs=vectors.outputs,
        result=vectors.result,
        limits={point: _vectors(entry.files, f"{point}/") for point in points if f"{point}/input.png" in entry.files},
        tolerance=Tolerance(max_abs=entry.facts["max_abs"], min_cosine=entry.facts["min_cosine"]),
    )


def _vectors(files: Iterable[str], folder: str) -> Vectors:
    """Returns the names in the bundle of the golden vectors of one shape, which lie in `folder` ("" or "min/")."""
    arrays = [path for path in files if path.startswith(f"{folder}output_") and path.endswith(".npy")]
    return Vectors(
        input=f"golden/{folder}input.png",
        outputs=[f"golden/{path}" for path in sorted(arrays, key=_by_number)],
        result=f"golden/{folder}{RESULT}",
    )


def _by_number(path: str) -> tuple[int, str]:
    """Sorts output_2 before output_10."""
    return int((re.findall(r"\d+", path) or ["0"])[-1]), path


def target_facts(target: Target, precision: str) -> TargetFacts:
    """Returns what a device needs to know of the target."""
    proxy = target.proxy_backend()
    return TargetFacts(
        device=target.device,
        kind=target.kind,
        arch=target.arch,
        isa=list(target.isa),
        backend=target.backend,
        runtime=target.runtime,
        system_runtime=target.system_runtime,
        options=plain(target.options_for(precision)),
        threads=target.threads,
        memory_mb=target.memory_mb,
        status=target.status,
        finalize=target.finalize,
        constraints=target.constraints(),
        stand_in=proxy.backend if proxy else None,
    )


def lock_of(
    recipe: Recipe,
    plan: Plan,
    materials: Materials,
    entries: Mapping[str, Entry],
    *,
    read: Callable[[Source], SourceDigest],
    tools: Mapping[str, str],
    isa_class: str,
    repair: Repair | None = None,
) -> Lock:
    """Returns the lock of a build.

    Args:
        materials: what the recipe named, found on disk.
        entries: step name to its entry in the store; a step that has not run may be missing.
        read: gives for a source the base name and sha256 of each of its files, in order. A label file that does not
            exist has no sha256: its picture shows no object.
        tools: distribution to version, of all that the steps used.

    Raises:
        RecipeError: a value has no exact form in a lock.
    """

    reading = materials.reading.as_json()

    def named(source: Source) -> list[NamedDigest]:
        return [NamedDigest(name=name, sha256=sha256) for name, sha256 in read(source).files if sha256]

    def labels() -> Iterator[NamedDigest | None]:
        if reading.get("layout"):
            yield from [None] * len(materials.validation.paths)
            return
        for name, sha256 in read(materials.labels).files:
            yield NamedDigest(name=name, sha256=sha256) if sha256 else None

    weights, *external_data = named(materials.weights)
    result = plan.result
    lock = Lock(
        schema=1,
        recipe=portable(recipe, materials.imgsz, materials.task),
        weights=weights,
        external_data=external_data,
        data=LockedData(
            names=list(materials.names),
            calibration=named(materials.calibration) if materials.calibration else None,
            validation=[
                LockedPicture(name=picture.name, sha256=picture.sha256, label=label)
                for picture, label in zip(named(materials.validation), labels(), strict=True)
            ],
            reading=LockedReading.model_validate(
                {**reading, "files": named(materials.labels) if "layout" in reading else []}
            )
            if reading
            else None,
            counts=DataFacts.model_validate(materials.counts.as_json()) if materials.counts else None,
            notes=list(materials.notes),
        ),
        tools={**tools, "edgecompile": __version__},
        isa_class=isa_class,
        result=LockedResult(
            artifact=reference(result.artifact),
            spec=reference(result.spec),
            format=result.format,
            precision=result.precision,
        ),
        steps=[_locked_step(step, entries.get(step.name)) for step in plan if not step.measured],
        repair=repair,
    )
    return lock_from(lock.to_json())  # numbers as a file would hold them: 1.0 is 1


def portable(recipe: Recipe, imgsz: tuple[int, int] | None = None, task: str = DETECT) -> dict[str, JsonValue]:
    """Returns the recipe as plain data that is the same on every machine.

    Args:
        imgsz: height and width that the weights take, which are written out where the recipe names none.
        task: what the weights are for, written out likewise; but not detection, which locks leave unsaid.

    Files are reduced to their base names, for folders differ and whoever builds again finds the files by digest. The
    device on which the bundle was measured is left out: no bundle holds the figures that come from it. The
    order of the passes is written out, for the order of a mapping's keys is lost in a lock.
    """

    def base(path: str) -> str:
        return path if path.startswith(INSIDE_PACKAGE) else PurePath(path).name

    plain = recipe.model_dump(mode="json", by_alias=True)
    plain["model"]["weights"] = base(plain["model"]["weights"])
    plain["data"]["path"] = base(plain["data"]["path"])
    if plain["model"]["imgsz"] is None and imgsz is not None:
        plain["model"]["imgsz"] = imgsz[0] if imgsz[0] == imgsz[1] else list(imgsz)
    if task != DETECT:
        plain["model"].setdefault("task", task)
    plain.pop("device", None)
    return {**plain, "order": list(recipe.ordered_names())}


def reference(value: Input) -> str:
    """Returns how a lock writes an input: the name of a source, or 'step:path'."""
    return value.name if isinstance(value, Source) else f"{value.step}:{value.path}"


def _locked_step(step: Step, entry: Entry | None) -> LockedStep:
    """Returns one step of the lock; without key and digests where there is no entry. Steps that measure stand in no
    lock: nothing that is built depends on them."""
    return LockedStep(
        name=step.name,
        stage=step.stage.value,
        function=step.function,
        version=step.version,
        params=plain(step.params),
        inputs={argument: reference(value) for argument, value in step.inputs.items()},
        tools=list(step.tools),
        isa=step.isa,
        measured=step.measured,
        key=entry.key if entry else None,
        output=entry.digest if entry else None,
        files={path: File(sha256=sha256, size=size) for path, (sha256, size) in (entry.files if entry else {}).items()},
    )


def packaging_step(plan: Plan, *, manifest: JsonObject, lock: JsonObject, report: JsonObject) -> Step:
    """Returns the step that packs the bundle; its output is the file `<name>.bundle.zip`.

    Add it to the plan once the gates are met, and run that plan: everything else is in the store by then. The documents
    are parameters, plain JSON, so the key covers them, and so they must depend on nothing but the inputs of the build.

    Args:
        manifest: plain JSON of what `manifest_of` returned.
        lock: plain JSON of what `lock_of` returned.
        report: what `edgecompile.report.document.report_of` returned without anything measured.

    Raises:
        PlanError: a document holds what may not stand in a bundle.
    """
    if report.get("measured") or report.get("run"):
        raise PlanError("the report of a bundle may not hold what was measured or when")
    return Step(
        name=PACKAGE,
        function="edgecompile.bundle.package:package",
        version=2,
        stage=Stage.PACKAGING,
        params={"manifest": dict(manifest), "lock": dict(lock), "report": dict(report)},
        inputs={"artifact": plan.result.artifact, "spec": plan.result.spec, "golden": Output("golden")},
        tools=TOOLS,
        memory_mb=300,
        about=f"one sealed zip: {bundle_name(str(manifest['name']))}",
    )


def bundle_name(name: str) -> str:
    """Returns the file name of the bundle of a recipe: letters, digits and ._- of its name, `.bundle.zip`."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "edgecompile"
    return f"{plain}.bundle.zip"


def with_packaging(plan: Plan, step: Step) -> Plan:
    """Returns the plan with the packaging step at its end."""
    return replace(plan, steps=(*plan.steps, step))
