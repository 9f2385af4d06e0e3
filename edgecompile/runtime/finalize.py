"""Finishes a bundle on its device: checks that this is the device, builds the model with the device's own tools, proves
by the golden vectors that it computes what it should, and judges the gates that need the device.

Only a model that passed all of it is kept, see `finished`; `load` takes no other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecompile.errors import BundleError, Problem
from edgecompile.runtime import finished, machine
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.check import Check
from edgecompile.runtime.confinement import BUILDING, doing
from edgecompile.runtime.finished import Place, Record, check_document
from edgecompile.runtime.golden import check_golden
from edgecompile.runtime.measure import Extent, Subject, golden_picture, measure
from edgecompile.runtime.measured_gates import MEASURED, Verdict, judge_one, raise_unmet
from edgecompile.runtime.measurement import Measurement
from edgecompile.runtime.predictor import Predictor, open_bundle
from edgecompile.runtime.requirement import satisfies
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.stream_rate import SECONDS
from edgecompile.runtime.target import read_target
from edgecompile.runtime.tuning import find_setting


def finalize(
    archive: Archive,
    *,
    threads: int | None = None,
    rebuild: bool = False,
    report: Callable[[Record], None] = lambda record: None,
) -> Record:
    """Builds, verifies and judges the model of a bundle on this device, and keeps it next to the bundle.

    A model that was built here before for the same bundle, runtime and device is verified again and used. The model of
    a bundle that needs no building is verified and judged.

    Args:
        threads: that the backend may use; the target's, but no more than there are cores, where None.
        rebuild: whether a model that was built here before is built again.
        report: called with the record, accepted or not, before an error is raised.

    Returns:
        bundle (file name), sha256, name, device (that the bundle is for), runtime (distribution and version), facts (of
        this device), fingerprint, key and folder (where the model lies; None where none was built), built (whether just
        now), checks (constraints and golden vectors: name, met, detail), figures (see `Measurement`), gates (see
        `Verdict.for_report`), engine (its folder and files; None where none is kept), accepted.

    Raises:
        BundleError: this is not the device, its tools cannot build the model, or the built model gives other outputs.
        GateError: a figure does not meet its gate.
        MissingToolError: the runtime or its tools are not installed.
        StepError: the model cannot be written, or is being built by another process.
    """
    target = read_target(archive)
    threads = find_setting(archive, target, threads).setting.threads
    if not target.finalize:
        return _verify(archive, threads, report)
    _compare(archive, {"arch": [target.arch]}, {"arch": machine.architecture()})  # before a runtime is missed
    place = finished.find_place(archive, target)
    constraints = check_constraints(archive, place.facts)
    known = None if rebuild else _known(place)
    if known is not None:
        return _verify_again(archive, place, known, threads, report)
    with finished.building(place) as (part, cache):
        spec, artifact = read_spec(archive.read_json("spec.json")).document, archive.folder("artifact/")
        builder: Any = target.backend
        doing(BUILDING)
        builder.build(artifact, spec, find_setting(archive, target, None).setting.options, part, cache)
        if not any(part.iterdir()):
            raise BundleError("the device's tools built nothing", where=str(archive.path))
        record: Record = {**_about(archive, place), **_judged(archive, threads, part), "built": True}
        record["checks"] = [*(check_document(check) for check in constraints), *record["checks"]]
        record["engine"] = finished.describe(part) if record["accepted"] else None
        report(record)
        raise_refused(record, archive.path)
        kept = finished.keep(place, part, record)
    return {**kept, "built": True}


def check_constraints(archive: Archive, facts: Mapping[str, str]) -> list[Check]:
    """Compares the manifest's demands with the device.

    Returns:
        a check for each fact that is demanded; all are met.

    Raises:
        BundleError: a line for each check that is not met, with the command that builds for another device.
    """
    target = read_target(archive)
    return _compare(archive, {"arch": [target.arch], "runtime": target.runtime[1], **target.constraints}, facts)


def _compare(archive: Archive, demanded: Mapping[str, Any], facts: Mapping[str, str]) -> list[Check]:
    checks = []
    for name, demand in demanded.items():
        fact = facts.get(name)
        shown = demand if isinstance(demand, str) else " or ".join(map(str, demand))
        try:
            met = fact is not None and (satisfies(fact, demand) if isinstance(demand, str) else fact in demand)
        except (ValueError, TypeError):
            raise BundleError(f"the manifest demands an unknown '{name}': {shown}", where=str(archive.path)) from None
        checks.append(Check(name, met, f"{fact or 'unknown'} (the bundle is for {shown})"))
    fix = f"build a bundle for this device: edgecompile build recipe={archive.manifest.get('name')} target=NAME"
    unmet = [
        Problem(f"is not for this device: {check.name} is {check.detail}", str(archive.path), fix)
        for check in checks
        if not check.met
    ]
    if unmet:
        raise BundleError(unmet)
    return checks


def raise_refused(record: Record, bundle: Path) -> None:
    """Raises for a check that differs, else for a gate that is unmet; returns where there is neither."""
    failed = [check["name"] for check in record["checks"] if not check["met"]]
    if failed:
        raise BundleError(f"does not run here as it did where it was made: {', '.join(failed)}", where=str(bundle))
    raise_unmet(
        Verdict(gate["gate"], gate["limit"], gate["figure"], gate["met"], True, gate["text"].partition(": ")[2])
        for gate in record["gates"]
    )


def judge(gates: Sequence[Mapping[str, Any]], measured: Measurement) -> list[Verdict]:
    """Judges the manifest's gates on measured figures, whether or not the machine that built has judged them."""
    return [judge_one(gate["gate"], float(gate["limit"]), measured) for gate in gates if gate.get("gate") in MEASURED]


def _known(place: Place) -> Record | None:
    """Returns the record of the model that was built here and is whole; None where a model is to be built."""
    record = finished.read_record(place.folder / finished.RECORD)
    if record is None or record.get("facts") != place.facts or record.get("sha256") != place.digest:
        return None
    return None if finished.find_damage(place.folder, record) else record


def _verify_again(
    archive: Archive, place: Place, known: Record, threads: int, report: Callable[[Record], None]
) -> Record:
    """Compares a model that was built before with the golden vectors again; a model that differs is withdrawn."""
    try:
        checks = check_golden(archive, open_bundle(archive, threads=threads))
    except BundleError:
        finished.withdraw(place)
        raise
    golden = {check.name for check in checks}
    before = [check for check in known["checks"] if check["name"] not in golden]
    record: Record = {**known, "checks": [*before, *(check_document(check) for check in checks)], "built": False}
    record["accepted"] = all(check.met for check in checks)
    report(record)
    if not record["accepted"]:
        finished.withdraw(place)
    raise_refused(record, archive.path)
    return record


def _verify(archive: Archive, threads: int, report: Callable[[Record], None]) -> Record:
    """Verifies and judges the model of a bundle that runs as it is."""
    record: Record = {**_about(archive, None), **_judged(archive, threads, None), "built": False}
    report(record)
    raise_refused(record, archive.path)
    return record


def _judged(archive: Archive, threads: int, engine: Path | None) -> Record:
    """Runs the golden vectors and, where they agree, the measurement that gates read."""
    predictor: Predictor = open_bundle(archive, threads=threads, engine=engine)
    checks = check_golden(archive, predictor)
    agrees = all(check.met for check in checks)
    measured = _measured(archive, threads, engine) if agrees else None
    verdicts = judge(archive.manifest.get("gates") or [], measured) if measured else []
    return {
        "runtime": [read_target(archive).runtime[0], predictor.backend.version],
        "checks": [check_document(check) for check in checks],
        "figures": measured.to_json() if measured else {},
        "gates": [verdict.for_report() for verdict in verdicts],
        "accepted": agrees and all(verdict.met is not False for verdict in verdicts),
    }


def _measured(archive: Archive, threads: int, engine: Path | None) -> Measurement:
    """Measures the model on the golden picture."""
    with tempfile.TemporaryDirectory(prefix="edgecompile-") as folder:
        picture = golden_picture(archive, Path(folder))
        asked = any(gate.get("gate") == "stream_fps" for gate in archive.manifest.get("gates") or ())
        extent = Extent(stream_seconds=SECONDS if asked else 0.0)
        target = read_target(archive)
        subject = Subject([picture], threads, archive.path, engine, backend=target.name, memory_mb=target.memory_mb)
        return measure(subject, extent)


def _about(archive: Archive, place: Place | None) -> Record:
    """Returns the part of the record on the bundle and this device."""
    return {
        "schema": finished.SCHEMA,
        "bundle": archive.path.name,
        "sha256": archive.digest,
        "name": archive.manifest.get("name"),
        "device": read_target(archive).device,
        "facts": place.facts if place else {},
        "fingerprint": place.fingerprint if place else None,
        "key": place.key if place else None,
        "folder": str(place.folder) if place else None,
        "engine": None,
    }
