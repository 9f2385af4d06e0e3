"""Figures of a bundle on a device: measured there, and brought into the form that gates and reports read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

from edgecompile.device.measurement_signature import Evidence
from edgecompile.device.remote import Remote
from edgecompile.errors import EdgecompileError
from edgecompile.evaluate.gates import Verdict, judge_measured
from edgecompile.runtime.bench import Bench
from edgecompile.runtime.device_key import SIGNATURE
from edgecompile.runtime.finalize import Record
from edgecompile.runtime.layer_profile import LayerProfile, LayerProfileDocument
from edgecompile.runtime.measurement import Measurement


class DeviceSection(TypedDict):
    """The section `device` of a report: the device, its power mode, and the findings there.

    address, host, arch, system, python, board: of the device.
    backend: and its version.
    power_mode: command to its output.
    temperature_c: before and after, degrees Celsius.
    sha256: of the bundle.
    gates: that were judged there, as `Verdict.for_report` states them.
    verified: the comparisons with the machine that built the bundle, a line each.
    measured: as `Measurement.to_json` returns it.
    layers: as `LayerProfile.to_json` returns it; None where layers were not timed.
    evidence: who vouches for it.
    """

    address: str
    host: str
    arch: str
    system: str
    python: str
    board: str | None
    backend: str
    power_mode: dict[str, str]
    temperature_c: list[float | None]
    sha256: str
    gates: list[Mapping[str, Any]]
    verified: list[str]
    measured: Mapping[str, Any]
    layers: LayerProfileDocument | None
    evidence: Evidence


def bench(
    remote: Remote,
    bundle: PurePosixPath,
    *,
    pictures: Sequence[Path] = (),
    rounds: int | None = None,
    threads: int | None = None,
    layers: bool = False,
    stream: bool = False,
    against: PurePosixPath | None = None,
) -> tuple[Bench, Evidence]:
    """Measures a bundle that is on the device and returns what `edgecompile bench` finds there, and who vouches for it.

    Args:
        pictures: local files, copied there for the measurement. The golden picture of the bundle where there are none.
        rounds, threads: as for `bench`.
        layers: whether the layers are timed too.
        stream: whether streams are measured too.
        against: another bundle on the device, which takes turns with it.

    Raises:
        EdgecompileError: the verb failed, or the connection broke.
    """
    words = ["--json"]
    words += ["--rounds", str(rounds)] if rounds else []
    words += ["--threads", str(threads)] if threads else []
    words += ["--layers"] if layers else []
    words += ["--stream"] if stream else []
    words += ["--against", str(against)] if against else []
    with copied_pictures(remote, pictures) as images:
        output = remote.run("bench", bundle, *words, *images)
    document = json.loads(output)
    evidence = remote.evidence_of(document)
    document.pop(SIGNATURE, None)
    return Bench.from_json(document), evidence


@contextmanager
def copied_pictures(remote: Remote, pictures: Sequence[Path]) -> Iterator[list[str]]:
    """Copies local files to the device while the block runs; yields the words that name them to a verb there."""
    folder = remote.put_pictures(pictures) if pictures else None
    try:
        yield ["--images", str(folder)] if folder else []
    finally:
        _forget(remote, folder)


def _forget(remote: Remote, folder: PurePosixPath | None) -> None:
    """Removes copied pictures; where the connection is gone, a later call removes them."""
    if folder:
        try:
            remote.remove(folder)
        except EdgecompileError:
            return


def verdicts_of(limits: Iterable[tuple[str, float]], measurement: Measurement) -> list[Verdict]:
    """Judges the gates on measured figures by the figures of the device."""
    return judge_measured(limits, measurement)


def section_of(
    remote: Remote,
    measurement: Measurement,
    gates: Iterable[Mapping[str, Any]],
    *,
    sha256: str,
    backend: str,
    verified: Sequence[str] = (),
    power_mode: Mapping[str, str] | None = None,
    layers: LayerProfile | None = None,
    evidence: Evidence,
) -> DeviceSection:
    """Returns the section `device` of a report.

    Args:
        measurement: of the bundle there.
        gates: that were judged on it, as `Verdict.for_report` states them.
        sha256: of the bundle.
        backend: and its version.
        verified: the comparisons there with the machine that built the bundle, a line each.
        power_mode: command to its output.
        layers: what each layer costs there, where that was asked for.
        evidence: who vouches for it.
    """
    return {
        "address": str(remote.connection.address),
        "host": remote.facts["host"],
        "arch": remote.facts["arch"],
        "system": remote.facts["system"],
        "python": remote.facts["python"],
        "board": measurement.machine.board,
        "backend": backend,
        "power_mode": dict(power_mode or {}),
        "temperature_c": list(measurement.temperature_c),
        "sha256": sha256,
        "gates": list(gates),
        "verified": [*verified, evidence["signed_by"]],
        "measured": measurement.to_json(),
        "layers": layers.to_json() if layers else None,
        "evidence": evidence,
    }


def section_of_bench(
    remote: Remote, result: Bench, evidence: Evidence, verdicts: Iterable[Verdict], verified: Sequence[str] = ()
) -> DeviceSection:
    """Returns the section for a result of `bench` on the device; see `section_of`."""
    return section_of(
        remote,
        result.measurement,
        [verdict.for_report() for verdict in verdicts],
        sha256=result.sha256,
        backend=result.backend,
        verified=verified,
        power_mode=result.power_mode,
        layers=result.layers,
        evidence=evidence,
    )


def section_of_record(remote: Remote, record: Record, evidence: Evidence) -> DeviceSection:
    """Returns the section for a record of `finalize` on the device; see `section_of`."""
    return section_of(
        remote,
        Measurement.from_json(record["figures"]),
        record["gates"],
        sha256=record["sha256"],
        backend=" ".join(record["runtime"]),
        verified=verified_by(record),
        evidence=evidence,
    )


def verified_by(record: Record) -> list[str]:
    """Returns the comparisons of `finalize`, a line each."""
    return [f"{check['name']}: {'ok' if check['met'] else 'DIFFERS'}, {check['detail']}" for check in record["checks"]]
