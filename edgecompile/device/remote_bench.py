"""Figures of a bundle on a device: measured there, and brought into the form that gates and reports read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from edgecompile.device.remote import Remote
from edgecompile.errors import EdgecompileError
from edgecompile.evaluate import metrics as merge
from edgecompile.evaluate.gates import GATES, Verdict, judge

PARTS = {"preprocess": "preprocess", "inference": "inference", "postprocess": "postprocess", "total": "predict"}
"""Part of `edgecompile.evaluate.latency` to part of the runtime's `bench`: a picture in memory to its boxes in both."""


def bench(
    remote: Remote,
    bundle: PurePosixPath,
    *,
    pictures: Sequence[Path] = (),
    rounds: int | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Measures a bundle that is on the device and returns the figures of `edgecompile bench --json` there.

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
    return json.loads(said)


def _forget(remote: Remote, folder: PurePosixPath | None) -> None:
    """Removes copied pictures; where the connection is gone, what is left is swept away by a later call."""
    if folder:
        try:
            remote.remove(folder)
        except EdgecompileError:
            return


def measured_of(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `bench` found as the facts that `edgecompile.evaluate.latency.measure` states."""
    latency = {name: dict(figures["latency_ms"][part]) for name, part in PARTS.items()}
    total = latency["total"]
    return {
        "latency_ms": latency,
        "fps": figures["predict_fps"],
        "jitter_ms": round(total["p95"] - total["p50"], 3),
        "predictions": figures["predictions"],
        "import_ms": None,  # counted with the opening
        "open_ms": figures["start_ms"]["open"],
        "first_ms": figures["start_ms"]["first_prediction"],
        **{name: figures[name] for name in ("peak_memory_mb", "power_watt", "fps_per_watt", "power_meter")},
        "temperature_c": figures["temperature_c"],
        "threads": figures["threads"],
        "machine": figures["machine"],
        "unmeasured": {"fps_per_watt": figures["no_meter"]} if figures["no_meter"] else {},
    }


def measured_by(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `finalize` measured as the facts that `edgecompile.evaluate.latency.measure` states."""
    figures = dict(record["figures"])
    start = figures.pop("start_ms")
    total = figures["latency_ms"]["total"]
    figures |= {"import_ms": None, "open_ms": start["open"], "first_ms": start["first_prediction"]}
    return {**figures, "jitter_ms": round(total["p95"] - total["p50"], 3)}


def verdicts_of(limits: Iterable[tuple[str, float]], figures: Mapping[str, Any]) -> list[Verdict]:
    """Judges those gates that are about measured figures on what `bench` found on the device."""
    measured = {name: limit for name, limit in limits if name in GATES and GATES[name].measured}
    return judge(measured, merge.measured(measured_of(figures)))


def section_of(
    remote: Remote,
    measured: Mapping[str, Any],
    gates: Iterable[Mapping[str, Any]],
    *,
    sha256: str,
    backend: str,
    verified: Sequence[str] = (),
    power_mode: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Returns the section `device` of a report: what device it was, how it was set, and what was found there.

    Args:
        measured: what `measured_of` or `measured_by` returned.
        gates: that were judged on it, as `Verdict.for_report` states them.
        sha256: of the bundle.
        backend: and its version.
        verified: what was compared there with where the bundle was built, a line each.
        power_mode: command to what it said.
    """
    return {
        "address": str(remote.connection.address),
        **{name: remote.facts[name] for name in ("host", "arch", "system", "python")},
        "board": measured["machine"].get("board"),
        "backend": backend,
        "power_mode": dict(power_mode or {}),
        "temperature_c": measured["temperature_c"],
        "sha256": sha256,
        "gates": [dict(gate) for gate in gates],
        "verified": list(verified),
        "measured": dict(measured),
    }


def section_of_bench(
    remote: Remote, figures: Mapping[str, Any], verdicts: Iterable[Verdict], verified: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns the section of what `bench` found on the device; see `section_of`."""
    return section_of(
        remote,
        measured_of(figures),
        [verdict.for_report() for verdict in verdicts],
        sha256=figures["sha256"],
        backend=figures["backend"],
        verified=verified,
        power_mode=figures["power_mode"],
    )


def section_of_record(remote: Remote, record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the section of what `finalize` found on the device; see `section_of`."""
    return section_of(
        remote,
        measured_by(record),
        record["gates"],
        sha256=record["sha256"],
        backend=" ".join(record["runtime"]),
        verified=verified_by(record),
    )


def verified_by(record: Mapping[str, Any]) -> list[str]:
    """Returns what `finalize` compared, a line each."""
    return [f"{one['name']}: {'ok' if one['met'] else 'DIFFERS'}, {one['detail']}" for one in record["checks"]]
