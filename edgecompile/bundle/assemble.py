"""From what a build found to the documents of its bundle. Pure: reads nothing, runs nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from edgecompile import __version__
from edgecompile.bundle import lock as locks
from edgecompile.bundle.manifest import Figures
from edgecompile.errors import PlanError
from edgecompile.plan.graph import Materials, Plan
from edgecompile.plan.step import Input, Output, Source, Stage, Step
from edgecompile.runtime.archive import FORMAT, SCHEMA

PACKAGE = "package"
"""Name of the packaging step."""
TOOLS = ("jinja2", "PyYAML")
"""Distributions that write the page and the lock, and so have a say in the bytes of a bundle."""
FIGURES = tuple(Figures.model_fields)
NOT_ARTIFACT = ("facts.json", "spec.json")
"""Files that may lie beside an artifact that is a whole folder, and are not part of it."""
INSIDE_PACKAGE = "sample://"
"""How a recipe names what is embedded in this package: the same on every machine, unlike any other path."""


def manifest_of(
    recipe: Any,
    plan: Plan,
    entries: Mapping[str, Any],
    figures: Mapping[str, Any],
    verdicts: Iterable[Any],
    *,
    spec: Mapping[str, Any],
    weights: Mapping[str, str],
    tools: Mapping[str, str],
    isa_class: str,
) -> dict[str, Any]:
    """Returns the manifest of a bundle, without `files` (the writer fills them in).

    Args:
        recipe: the `Recipe` that was built.
        entries: step name to its entry in the store.
        figures: what `edgecompile.evaluate.metrics.deterministic_metrics` returned; any others (measured ones) are not
            taken over.
        verdicts: what `edgecompile.evaluate.gates.judge` returned.
        spec: the spec.json of the artifact.
        weights: {"name", "sha256"} of the file that the build began with.
        tools: distribution to version, of all that the steps used.
        isa_class: instruction-set class of the machine that built.
    """
    golden = entries["golden"]
    return {
        "schema": SCHEMA,
        "format": FORMAT,
        "name": recipe.name,
        "description": recipe.description,
        "created_by": f"edgecompile {__version__}",
        "target": target_facts(recipe.target),
        "precision": plan.result.precision,
        "model": {
            "weights": dict(weights),
            "task": spec["task"],
            "imgsz": list(spec["letterbox"]["size"]),
            "names": list(spec["names"]),
        },
        "data": plan.counts.as_json() if plan.counts else None,
        "tools": {**tools, "edgecompile": __version__},
        "isa_class": isa_class,
        "figures": {key: figures[key] for key in FIGURES},
        "gates": [verdict.for_manifest() for verdict in verdicts],
        "golden": {
            **_vectors(golden.files, ""),
            "limits": {
                point: _vectors(golden.files, f"{point}/")
                for point in ("min", "max")
                if f"{point}/input.png" in golden.files
            },
            "tolerance": {key: golden.facts[key] for key in ("max_abs", "min_cosine")},
        },
        "steps": [
            {
                "name": step.name,
                "stage": step.stage.value,
                "key": entries[step.name].key,
                "output": entries[step.name].digest,
            }
            for step in plan
            if not step.measured
        ],
    }


def _vectors(files: Iterable[str], folder: str) -> dict[str, Any]:
    """Returns the names in the bundle of the golden vectors of one shape, which lie in `folder` ("" or "min/")."""
    arrays = [path for path in files if path.startswith(f"{folder}output_") and path.endswith(".npy")]
    return {
        "input": f"golden/{folder}input.png",
        "outputs": [f"golden/{path}" for path in sorted(arrays, key=_by_number)],
        "detections": f"golden/{folder}detections.json",
    }


def _by_number(path: str) -> tuple[int, str]:
    """Sorts output_2 before output_10."""
    return int((re.findall(r"\d+", path) or ["0"])[-1]), path


def target_facts(target: Any) -> dict[str, Any]:
    """Returns what a device needs to know of the target: plain JSON."""
    distribution, versions = target.runtime
    return {
        "device": target.device,
        "kind": target.kind,
        "arch": target.arch,
        "isa": list(target.isa),
        "backend": target.backend,
        "runtime": [distribution, versions],
        "system_runtime": target.system_runtime,
        "options": target.options(),
        "threads": target.threads,
        "status": target.status,
        "finalize": target.finalize,
        "constraints": target.constraints(),
        "stand_in": (target.proxy_backend() or (None,))[0],
    }


def lock_of(
    recipe: Any,
    plan: Plan,
    materials: Materials,
    entries: Mapping[str, Any],
    *,
    read: Callable[[Source], Any],
    tools: Mapping[str, str],
    isa_class: str,
) -> dict[str, Any]:
    """Returns the lock of a build as plain JSON, in the order of its sections.

    Args:
        materials: what the recipe named, found on disk.
        entries: step name to its entry in the store; a step that has not run may be missing.
        read: gives for a source its `files`: base name and sha256 of each, in order (see
            `edgecompile.execute.source_digests`). A label file that does not exist has no sha256: its picture shows no
            object.
        tools: distribution to version, of all that the steps used.
    """

    def named(source: Source) -> list[dict[str, str] | None]:
        return [{"name": name, "sha256": sha256} if sha256 else None for name, sha256 in read(source).files]

    validation = [
        {**(picture or {}), "label": label}
        for picture, label in zip(named(materials.validation), named(materials.labels), strict=True)
    ]
    weights, *external_data = named(materials.weights)
    result = plan.result
    return {
        "schema": locks.SCHEMA,
        "recipe": portable(recipe, materials.imgsz),
        "weights": weights,
        "external_data": external_data,
        "data": {
            "names": list(materials.names),
            "calibration": named(materials.calibration) if materials.calibration else None,
            "validation": validation,
            "counts": materials.counts.as_json() if materials.counts else None,
            "notes": list(materials.notes),
        },
        "tools": {**tools, "edgecompile": __version__},
        "isa_class": isa_class,
        "result": {
            "artifact": reference(result.artifact),
            "spec": reference(result.spec),
            "format": result.format,
            "precision": result.precision,
        },
        "steps": [_locked_step(step, entries) for step in plan],
    }


def portable(recipe: Any, imgsz: tuple[int, int] | None = None) -> dict[str, Any]:
    """Returns the recipe as plain data that says the same on every machine.

    Args:
        imgsz: height and width that the weights take, which are written out where the recipe names none.

    Files are reduced to their base names, for folders differ and whoever builds again finds the files by digest. The
    device on which the bundle was measured is left out: it says where figures come from that no bundle holds. The
    order of the passes is written out, for the order of a mapping's keys is lost in a lock.
    """

    def base(path: str) -> str:
        return path if path.startswith(INSIDE_PACKAGE) else PurePath(path).name

    plain = recipe.model_dump(mode="json", by_alias=True)
    plain["model"]["weights"] = base(plain["model"]["weights"])
    plain["data"]["path"] = base(plain["data"]["path"])
    if plain["model"]["imgsz"] is None and imgsz is not None:
        plain["model"]["imgsz"] = imgsz[0] if imgsz[0] == imgsz[1] else list(imgsz)
    plain.pop("device", None)
    return {**plain, "order": list(recipe.ordered_names())}


def reference(value: Input) -> str:
    """Returns how a lock writes an input: the name of a source, or 'step:path'."""
    return value.name if isinstance(value, Source) else f"{value.step}:{value.path}"


def _locked_step(step: Step, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Returns one step of the lock. What was measured is named without key and digests: it differs every time."""
    entry = None if step.measured else entries.get(step.name)
    files = entry.files if entry else {}
    return {
        "name": step.name,
        "stage": step.stage.value,
        "function": step.function,
        "version": step.version,
        "params": dict(step.params),
        "inputs": {argument: reference(value) for argument, value in step.inputs.items()},
        "tools": list(step.tools),
        "isa": step.isa,
        "measured": step.measured,
        "key": entry.key if entry else None,
        "output": entry.digest if entry else None,
        "files": {path: {"sha256": sha256, "size": size} for path, (sha256, size) in files.items()},
    }


def packaging_step(
    plan: Plan, *, manifest: Mapping[str, Any], lock: Mapping[str, Any], report: Mapping[str, Any]
) -> Step:
    """Returns the step that packs the bundle; its output is the one file `<name>.bundle.zip`.

    Add it to the plan once the gates are met, and run that plan: everything else is in the store by then. The documents
    are parameters, so the key covers them, and so they must depend on nothing but the inputs of the build.

    Args:
        manifest: what `manifest_of` returned.
        lock: what `lock_of` returned.
        report: what `edgecompile.report.document.report_of` returned without anything measured.

    Raises:
        PlanError: a document holds what may not stand in a bundle.
    """
    if report.get("measured") or report.get("run"):
        raise PlanError("the report of a bundle may not hold what was measured or when")
    return Step(
        name=PACKAGE,
        function="edgecompile.bundle.package:package",
        stage=Stage.PACKAGING,
        params={"manifest": dict(manifest), "lock": dict(lock), "report": dict(report)},
        inputs={"artifact": plan.result.artifact, "spec": plan.result.spec, "golden": Output("golden")},
        tools=TOOLS,
        memory_mb=300,
        about=f"one sealed zip: {bundle_name(manifest['name'])}",
    )


def bundle_name(name: str) -> str:
    """Returns the file name of the bundle of a recipe: letters, digits and ._- of its name, `.bundle.zip`."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "edgecompile"
    return f"{plain}.bundle.zip"


def with_packaging(plan: Plan, step: Step) -> Plan:
    """Returns the plan with the packaging step at its end."""
    return replace(plan, steps=(*plan.steps, step))
