"""From the run directories of a sweep to its points, what sets them apart, and a verdict for each device. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgecompile.errors import EdgecompileError, PlanError, RecipeError
from edgecompile.report import number_format
from edgecompile.runtime.figures import Figures, figures_from
from edgecompile.runtime.measurement import MachineDocument, MeasurementDocument
from edgecompile.sweep.fleet import fleet_verdicts
from edgecompile.sweep.sweep_point import BUILT, DeviceVerdict, GateState, StepAccount, StepCounts, Sweep, SweepPoint
from edgecompile.sweep.verdict import judge_device

UNFINISHED = "unfinished"
INVALID = "invalid"
STATES = {kind.exit_code: kind.kind for kind in EdgecompileError.__subclasses__()}
STATES |= {0: BUILT, RecipeError.exit_code: INVALID, PlanError.exit_code: INVALID}
"""What became of a point, by its exit code."""
SPEEDUP = ("speedup", "speedup_low", "speedup_high")
"""Columns of the speed-up over float."""
MET = {True: "met", False: "unmet", None: "on-device"}


def point_of(folder: str, status: Mapping[str, Any] | None, report: Mapping[str, Any] | None) -> SweepPoint:
    """Returns one point of a sweep.

    Args:
        folder: name of its run directory.
        status: its status.json; None where the job never ended.
        report: its report.json; None where the job ended before its figures were known.

    Raises:
        KeyError, TypeError, AttributeError: a file is damaged, or not written by a job.
    """
    if status is None:
        status = {"exit_code": None, "overrides": [], "problems": ["it was interrupted, or is still running"]}
    code, bundle = status["exit_code"], status.get("bundle")
    point = SweepPoint(
        point=folder,
        name=status.get("name"),
        overrides=tuple(word.lstrip("+") for word in _texts(status.get("overrides", []), "overrides")),
        state=UNFINISHED if code is None else STATES.get(code, "error"),
        exit_code=code,
        problems=_texts(status.get("problems", []), "problems"),
        steps=_step_counts(status.get("steps")),
        bundle=f"{folder}/{bundle.replace(chr(92), '/').rpartition('/')[2]}" if bundle else None,
    )
    return _with_report(point, report) if report is not None else point


def _with_report(point: SweepPoint, report: Mapping[str, Any]) -> SweepPoint:
    """Returns the point with the figures of its report."""
    document: MeasurementDocument | None = report["measured"]
    measured: MeasurementDocument = document or {}
    recipe, total = report["recipe"], (measured.get("latency_ms") or {}).get("total") or {}
    machine: MachineDocument = {**(measured.get("machine") or {})}
    now = machine.pop("mhz", None)  # differs from measurement to measurement, unlike the machine
    return replace(
        point,
        device=_text(report["target"]["device"], "device"),
        runtime=report["target"].get("kind"),
        weights=(report["model"].get("weights") or {}).get("sha256"),
        precision=_text(report["precision"], "precision"),
        imgsz=tuple(report["model"]["imgsz"]),
        judged_on={key: recipe["data"].get(key) for key in ("path", "validation")},
        address=(report.get("device") or {}).get("address"),
        figures=_figures(report["figures"]),
        latency_p50_ms=_number(total.get("p50"), "latency_p50_ms"),
        latency_p95_ms=_number(total.get("p95"), "latency_p95_ms"),
        peak_memory_mb=_number(measured.get("peak_memory_mb"), "peak_memory_mb"),
        machine=number_format.machine_line({**measured, "machine": machine}) if total else None,
        threads=measured.get("threads") if total else None,
        clock_mhz=(machine.get("max_mhz") or now) if total else None,
        exclusive=measured.get("exclusive") if total else None,
        noise=number_format.noise(measured) if total else None,
        speedup=measured.get("speedup") if total else None,
        gates=tuple(GateState(gate["gate"], gate["met"], bool(gate.get("noisy"))) for gate in report["gates"]),
        did=tuple(
            StepAccount(step["name"], step["about"], step["key"], tuple(step["did"]))
            for step in report.get("steps", [])
            if step.get("makes")
        ),
    )


def _figures(document: Mapping[str, Any]) -> Figures:
    """Returns figures that a sweep can compute with."""
    figures = figures_from(document)
    for name, value in (*figures.metrics.items(), *figures.reference.items(), ("size_bytes", figures.size_bytes)):
        if _number(value, name) is None:
            raise TypeError(f"'{name}' is not what it should be")
    for metrics in (*figures.per_class.values(), *figures.reference_per_class.values()):
        _number(metrics[figures.main], "per_class")
    if figures.drop_error is not None and _number(figures.drop_error["standard_error"], "drop_error") is None:
        raise TypeError("'drop_error' is not what it should be")
    return figures


def _number(value: Any, name: str) -> Any:
    if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool)):
        raise TypeError(f"'{name}' is not what it should be")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"'{name}' is not what it should be")
    return value


def _texts(values: Any, name: str) -> tuple[str, ...]:
    return tuple(_text(value, name) for value in values)


def _step_counts(noted: Mapping[str, Any] | None) -> StepCounts | None:
    return StepCounts(*(_number(noted.get(key, 0), "steps") for key in ("run", "reused", "saved_s"))) if noted else None


def sweep_of(name: str, points: Iterable[SweepPoint]) -> Sweep:
    """Returns the whole sweep: its points with what sets them apart, and for each device its front and verdict.

    Args:
        name: what to call it.
        points: what `point_of` returned, in their order.
    """
    known = list(points)
    words = [set(point.overrides) for point in known if point.overrides or point.state != UNFINISHED]
    shared = set.intersection(*words) if len(words) > 1 else set()
    known = [replace(point, varies=tuple(word for word in point.overrides if word not in shared)) for point in known]
    groups: dict[str, list[SweepPoint]] = {}
    for point in known:
        if point.device is not None:
            groups.setdefault(repr((point.device, point.judged_on, point.address)), []).append(point)
    devices = tuple(judge_device(group) for group in groups.values())
    front, size_front = ({name for front in fronts for name in front} for fronts in _fronts(devices))
    return Sweep(
        name=name,
        shared=tuple(sorted(shared)),
        states={state: sum(point.state == state for point in known) for state in _states(known)},
        sharing=_sharing(known),
        devices=devices,
        points=tuple(
            replace(point, front=point.point in front, size_front=point.point in size_front) for point in known
        ),
        fleet=tuple(fleet_verdicts(known)),
    )


def _fronts(devices: Sequence[DeviceVerdict]) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    return [device.front for device in devices], [device.size_front for device in devices]


def _sharing(points: Sequence[SweepPoint]) -> StepCounts | None:
    """Returns the sums over all points; None where no point noted its steps."""
    noted = [point.steps for point in points if point.steps]
    if not noted:
        return None
    sums = (sum(getattr(counts, key) for counts in noted) for key in ("run", "reused", "saved_s"))
    return StepCounts(*(round(total, 3) for total in sums))


def _states(points: Sequence[SweepPoint]) -> list[str]:
    """Returns the states that occur, what was built first."""
    return sorted({point.state for point in points}, key=lambda state: (state != BUILT, state))


def columns(sweep: Sweep) -> tuple[str, ...]:
    """Returns the columns of results.csv."""
    return (
        "point", "name", "device", "address", "precision", "varies", "overrides", "state", "reason", *sweep.metrics,
        "drop_error", "relative_drop", "score_shift",
        "latency_p50_ms", "latency_p95_ms", "size_bytes", "peak_memory_mb", "gates", "front", "size_front", "bundle",
        "machine", "threads", "clock_mhz", "exclusive", "noise", *SPEEDUP,
    )  # fmt: skip


def _met(state: GateState) -> str:
    return "noisy" if state.noisy and state.met is None else MET[state.met]


def row_of(point: SweepPoint, names: Sequence[str]) -> dict[str, Any]:
    """Returns the row of a point in results.csv: plain values by column, lists joined."""
    met = None if point.gates is None else " ".join(f"{state.gate}:{_met(state)}" for state in point.gates)
    words = {"varies": " ".join(point.varies), "overrides": " ".join(point.overrides), "gates": met}
    found = point.speedup
    speedup = {"speedup": found["ratio"], "speedup_low": found["low"], "speedup_high": found["high"]} if found else {}
    plain = {**point.to_json(), **words, **dict.fromkeys(SPEEDUP), **speedup}
    return {name: plain.get(name) for name in names}
