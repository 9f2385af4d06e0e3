"""A manifest as lines for a person: what a bundle is, for which device, and how it was judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecompile.errors import BundleError
from edgecompile.json_types import JsonObject
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.figures import Coverage, Figures, ScoreChange, figures_from
from edgecompile.runtime.finished import Record

SBOM = "sbom.cdx.json"
SHOWN_TOOLS = 12
PROVEN = {True: " and proven on {} pictures", False: ", not proven on {} pictures", None: ""}
MET = {True: "met", False: "NOT met", None: "to be judged"}


def read_sbom(archive: Archive) -> JsonObject:
    """Returns the bill of materials of a bundle.

    Raises:
        BundleError: it has none, as those of older versions.
    """
    if SBOM not in archive.names:
        fix = "build it again, or `edgecompile reproduce` it"
        raise BundleError("holds no bill of materials: an older version made it", where=str(archive.path), fix=fix)
    return archive.read_json(SBOM)


def summarize(manifest: Mapping[str, Any], digest: str, size: int) -> list[str]:
    """Returns the lines that `edgecompile inspect` prints.

    Raises:
        BundleError: the manifest lacks a value that they state.
    """
    try:
        figures = figures_from(manifest["figures"])
        return [
            *_heading(manifest, digest, size),
            *_figures(figures),
            *_scores(figures.scores),
            *_coverage(figures.coverage),
            *_gates(manifest["gates"], figures.pictures),
            *_origin(manifest),
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"the manifest lacks or misstates {error}") from None


def summarize_record(record: Record) -> list[str]:
    """Returns the lines that `edgecompile finalize` prints of its record."""
    distribution, version = record["runtime"]
    if record["folder"] is None:
        lines = [f"{'finalize':<12} not needed: the model runs as it is, with {distribution} {version}"]
    else:
        how = "built here, now" if record["built"] else "built here before"
        lines = [f"{'finalize':<12} {how}, with {distribution} {version}"]
        lines.append(f"{'this device':<12} {', '.join(f'{name} {fact}' for name, fact in record['facts'].items())}")
    for check in record["checks"]:
        lines.append(f"{check['name']:<12} {'ok' if check['met'] else 'DIFFERS'}: {check['detail']}")
    if figures := record["figures"]:
        ranks = figures["latency_ms"]["total"]
        watt = f", {figures['power_watt']:.2f} W ({figures['power_meter']})" if figures["power_watt"] else ""
        lines.append(
            f"{'figures':<12} {ranks['p50']:.2f} ms (p95 {ranks['p95']:.2f}), {figures['fps']:.1f} FPS, "
            f"peak memory {figures['peak_memory_mb']:.0f} MB{watt}"
        )
    for gate in record["gates"]:
        name, _, text = gate["text"].partition(": ")
        lines.append(f"{'gate':<12} {name.partition(' ')[2]} {'met' if gate['met'] else 'NOT met'}: {text}")
    if record["folder"] is not None and record["accepted"]:
        lines.append(f"{'engine':<12} {record['folder']}")
    return [*lines, f"{'sha256':<12} {record['sha256']}"]


def _heading(manifest: Mapping[str, Any], digest: str, size: int) -> list[str]:
    target, model = manifest["target"], manifest["model"]
    distribution, versions = target["runtime"]
    height, width = model["imgsz"]
    names = ", ".join(model["names"][:8]) + (", ..." if len(model["names"]) > 8 else "")
    description = [f"{'':<12} {manifest['description']}"] if manifest.get("description") else []
    return [
        f"{'bundle':<12} {manifest['name']}, {size / 1e6:.1f} MB",
        *description,
        f"{'sha256':<12} {digest}",
        f"{'model':<12} {model['weights']['name']}, {model['task']}, {width} x {height}, {manifest['precision']}",
        f"{'classes':<12} {len(model['names'])}: {names}",
        f"{'device':<12} {target['device']} ({target['arch']}; {target['status']})",
        f"{'runtime':<12} {distribution}{versions}, {target['threads']} threads",
        *(
            [f"{'finalize':<12} the model is built on the device: edgecompile finalize"]
            if target.get("finalize")
            else []
        ),
    ]


def _figures(figures: Figures) -> list[str]:
    lines = []
    for name, after in figures.metrics.items():
        lines.append(f"{figures.title(name):<12} {after:.4f} (float {figures.reference[name]:.4f})")
        if name == figures.main:
            error = figures.drop_error
            lines.append(f"{'drop':<12} {figures.lost:.4f}" + (f" ± {error['standard_error']:.4f}" if error else ""))
    for name, metrics in sorted(figures.per_class.items()):
        lines.append(f"{'':<12}   {name}: {_number(metrics[figures.main])}")
    distance = figures.distance
    near = f"{'distance':<12} of raw outputs from float: at most {_number(distance['max'])}"
    return [*lines, f"{near}, cosine {_number(distance['cosine'])}, SQNR {_number(distance['sqnr_db'], 1)} dB"]


def _scores(scores: ScoreChange | None) -> list[str]:
    """Returns what became of the scores; older bundles do not state it."""
    if scores is None:
        return []
    lines, before, after = [], scores["reference"], scores["artifact"]
    if before and after:
        rates = ", ".join(
            f"{name} {_number(old)} → {_number(new)}"
            for name, old, new in (
                ("precision", before["precision"], after["precision"]),
                ("recall", before["recall"], after["recall"]),
            )
        )
        lines.append(f"{'found':<12} {after['found']} from {scores['threshold']:g} (float {before['found']}); {rates}")
    shift = scores["median_shift"]
    shown = "none" if shift is None else f"{shift:+.4f}"
    return [*lines, f"{'score shift':<12} {shown}, median of {scores['matched']} matched"]


def _coverage(coverage: Coverage | None) -> list[str]:
    """Returns a line for each precision that layers with weights are in; older bundles do not state it."""
    if coverage is None:
        return []
    return [
        f"{'layers':<12} {part['layers']} of {coverage['layers']} with weights in {precision}, "
        f"{100 * part['macs'] / max(coverage['macs'], 1):.1f} % of their operations"
        for precision, part in sorted(coverage["by_precision"].items())
    ]


def _gates(gates: list[Mapping[str, Any]], pictures: int) -> list[str]:
    if not gates:
        return [f"{'gates':<12} none"]
    lines = []
    for gate in gates:
        place = "where it is measured" if gate["met"] is None else "measured on the machine that built"
        figure = place if gate["measured"] else _number(gate["figure"])
        proof = PROVEN[gate.get("proven")].format(pictures) if gate["met"] else ""
        lines.append(f"{'gate':<12} {gate['gate']} {gate['limit']:g}: {MET[gate['met']]}{proof} ({figure})")
    return lines


def _origin(manifest: Mapping[str, Any]) -> list[str]:
    tools = [f"{name} {version}" for name, version in sorted(manifest["tools"].items())]
    more = f", {len(tools) - SHOWN_TOOLS} more" if len(tools) > SHOWN_TOOLS else ""
    steps = [f"{'step':<12} {step['stage']:<12} {step['name']}  {step['output'][:12]}" for step in manifest["steps"]]
    return [
        *steps,
        f"{'made by':<12} {manifest['created_by']}, instruction set {manifest['isa_class']}",
        f"{'tools':<12} {', '.join(tools[:SHOWN_TOOLS])}{more}",
    ]


def _number(value: float | None, digits: int = 4) -> str:
    return "none" if value is None else f"{value:.{digits}f}"
