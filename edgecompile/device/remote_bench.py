"""Figures of a bundle on a device: measured there, and brought into the form that gates and reports read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

from edgecompile.device.remote import Remote
from edgecompile.errors import EdgecompileError
from edgecompile.evaluate.gates import Verdict, judge_measured
from edgecompile.runtime.bench import Bench
from edgecompile.runtime.finalize import Record
from edgecompile.runtime.measurement import Measurement


class DeviceSection(TypedDict):
    """The section `device` of a report: what device it was, how it was set, and what was found there.

    address, host, arch, system, python, board: of the device.
    backend: and its version.
    power_mode: command to what it said.
    temperature_c: before and after, degrees Celsius.
    sha256: of the bundle.
    gates: that were judged there, as `Verdict.for_report` states them.
    verified: what was compared with where the bundle was built, a line each.
    measured: what `Measurement.to_json` states.
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


def bench(
    remote: Remote,
    bundle: PurePosixPath,
    *,
    pictures: Sequence[Path] = (),
    rounds: int | None = None,
    threads: int | None = None,
) -> Bench:
    """Measures a bundle that is on the device and returns what `edgecompile bench` found there.

    Args:
        pictures: here; copied there for the measurement. The golden one of the bundle where there are none.
        rounds, threads: as for `bench`.

    Raises:
        EdgecompileError: what the verb ended with, or what befell the connection.
    """
    words = ["--json"]
    words += ["--rounds", str(rounds)] if rounds else []
    words += ["--threads", str(threads)] if threads else []
    folder = remote.put_pictures(pictures) if pictures else None
    try:
        said = remote.run("bench", bundle, *words, *(["--images", str(folder)] if folder else []))
    except EdgecompileError:
        _forget(remote, folder)
        raise
    _forget(remote, folder)
    return Bench.from_json(json.loads(said))


def _forget(remote: Remote, folder: PurePosixPath | None) -> None:
    """Removes copied pictures; where the connection is gone, what is left is swept away by a later call."""
    if folder:
        try:
            remote.remove(folder)
        except EdgecompileError:
            return


def verdicts_of(limits: Iterable[tuple[str, float]], measurement: Measurement) -> list[Verdict]:
    """Judges those gates that are about measured figures on what was found on the device."""
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
) -> DeviceSection:
    """Returns the section `device` of a report.

    Args:
        measurement: what was found there.
        gates: that were judged on it, as `Verdict.for_report` states them.
        sha256: of the bundle.
        backend: and its version.
        verified: what was compared there with where the bundle was built, a line each.
        power_mode: command to what it said.
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
        "verified": list(verified),
        "measured": measurement.to_json(),
    }


def section_of_bench(
    remote: Remote, found: Bench, verdicts: Iterable[Verdict], verified: Sequence[str] = ()
) -> DeviceSection:
    """Returns the section of what `bench` found on the device; see `section_of`."""
    return section_of(
        remote,
        found.measurement,
        [verdict.for_report() for verdict in verdicts],
        sha256=found.sha256,
        backend=found.backend,
        verified=verified,
        power_mode=found.power_mode,
    )


def section_of_record(remote: Remote, record: Record) -> DeviceSection:
    """Returns the section of what `finalize` found on the device; see `section_of`."""
    return section_of(
        remote,
        Measurement.from_json(record["figures"]),
        record["gates"],
        sha256=record["sha256"],
        backend=" ".join(record["runtime"]),
        verified=verified_by(record),
    )


def verified_by(record: Record) -> list[str]:
    """Returns what `finalize` compared, a line each."""
    return [f"{one['name']}: {'ok' if one['met'] else 'DIFFERS'}, {one['detail']}" for one in record["checks"]]
