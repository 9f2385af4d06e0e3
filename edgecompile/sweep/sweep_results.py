"""results.json, schema 1: the points of a sweep, what sets them apart, and a verdict for each device. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgecompile.errors import EdgecompileError, PlanError, RecipeError
from edgecompile.report import number_format
from edgecompile.sweep.verdict import BUILT, choice, pareto_front, rationale, verdict

SCHEMA = 1
UNFINISHED = "unfinished"
INVALID = "invalid"
STATES = {kind.exit_code: kind.kind for kind in EdgecompileError.__subclasses__()}
STATES |= {0: BUILT, RecipeError.exit_code: INVALID, PlanError.exit_code: INVALID}
"""What became of a point, by its exit code."""
COLUMNS = (
    "point", "name", "device", "precision", "varies", "overrides", "state", "reason", "map50_95", "map_drop", "map50",
    "latency_p50_ms", "latency_p95_ms", "size_bytes", "peak_memory_mb", "gates", "front", "size_front", "bundle",
    "machine", "threads", "clock_mhz", "exclusive",
)  # fmt: skip
"""The columns of results.csv: keys of a point."""


def point_of(folder: str, status: Mapping[str, Any] | None, report: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns one point of a sweep as plain JSON.

    Args:
        folder: name of its run directory.
        status: its status.json; None where the job never ended.
        report: its report.json; None where the job ended before its figures were known.
    """
    if status is None:
        status = {"exit_code": None, "overrides": [], "problems": ["it was interrupted, or is still running"]}
    code = status["exit_code"]
    problems = list(status.get("problems", []))
    bundle = status.get("bundle")
    point = {
        "point": folder,
        "name": status.get("name"),
        "overrides": [word.lstrip("+") for word in status.get("overrides", [])],
        "state": UNFINISHED if code is None else STATES.get(code, "error"),
        "exit_code": code,
        "problems": problems,
        "reason": "; ".join(problems) or None,
        "steps": status.get("steps"),
        "bundle": f"{folder}/{bundle.replace(chr(92), '/').rpartition('/')[2]}" if bundle else None,
    }
    return {**point, **_found(report)}


def _found(report: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns what the report of a point says, each None where there is none."""
    if report is None:
        return {**dict.fromkeys(FOUND), "classes": [], "did": []}
    found, measured, recipe = report["figures"], report["measured"] or {}, report["recipe"]
    total = (measured.get("latency_ms") or {}).get("total") or {}
    machine = dict(measured.get("machine") or {})
    now = machine.pop("mhz", None)  # differs from measurement to measurement, and the machine does not
    return {
        "device": report["target"]["device"],
        "runtime": report["target"].get("kind"),
        "weights": (report["model"].get("weights") or {}).get("sha256"),
        "precision": report["precision"],
        "imgsz": report["model"]["imgsz"],
        "judged_on": {key: recipe["data"].get(key) for key in ("path", "validation")},
        "map50_95": found["map50_95"],
        "map50": found["map50"],
        "map_drop": found["map_drop"],
        "latency_p50_ms": total.get("p50"),
        "latency_p95_ms": total.get("p95"),
        "peak_memory_mb": measured.get("peak_memory_mb"),
        "machine": number_format.machine_line({**measured, "machine": machine}) if total else None,
        "threads": measured.get("threads") if total else None,
        "clock_mhz": (machine.get("max_mhz") or now) if total else None,
        "exclusive": measured.get("exclusive") if total else None,
        "size_bytes": found["size_bytes"],
        "gates": [{"gate": one["gate"], "met": one["met"]} for one in report["gates"]],
        "classes": report["falls"],
        "did": [_did(step) for step in report.get("steps", []) if step.get("makes")],
    }


def _did(step: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a step that makes the artifact did; points that share the step have its key in common."""
    return {"step": step["name"], "about": step["about"], "key": step["key"], "did": step["did"]}


MET = {True: "met", False: "unmet", None: "on-device"}
FOUND = (
    "device", "runtime", "weights", "precision", "imgsz", "judged_on", "map50_95", "map50", "map_drop",
    "latency_p50_ms", "latency_p95_ms", "peak_memory_mb", "machine", "threads", "clock_mhz", "exclusive", "size_bytes",
    "gates",
)  # fmt: skip


NUMBERS = ("map50_95", "map50", "map_drop", "size_bytes")
OPTIONAL_NUMBERS = ("latency_p50_ms", "latency_p95_ms", "peak_memory_mb")


def require_types(point: Mapping[str, Any]) -> None:
    """Makes sure that a point holds what a sweep computes with: its files may be damaged, or anybody's.

    Raises:
        TypeError: naming the first value that is of another kind.
    """
    known = point["device"] is not None
    wanted: list[tuple[str, Any]] = [
        *((name, (int, float)) for name in NUMBERS if known),
        *((name, (int, float)) for name in OPTIONAL_NUMBERS if point[name] is not None),
        *((name, str) for name in ("device", "precision") if known),
    ]
    wrong = [name for name, kind in wanted if not isinstance(point[name], kind) or isinstance(point[name], bool)]
    wrong += ["overrides"] * any(not isinstance(one, str) for one in point["overrides"])
    wrong += ["problems"] * any(not isinstance(one, str) for one in point["problems"])
    steps = {} if point["steps"] is None else point["steps"]
    wrong += ["steps"] * any(not isinstance(steps.get(key, 0), (int, float)) for key in ("run", "reused", "saved_s"))
    for fall in point["classes"]:
        wrong += ["falls"] * any(not isinstance(fall[key], (int, float)) for key in ("reference", "artifact"))
    if wrong:
        raise TypeError(f"'{wrong[0]}' is not what it should be")


def sweep_of(name: str, points: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the whole sweep: its points with what sets them apart, and for each device its front and verdict.

    Args:
        name: what to call it.
        points: what `point_of` returned, in their order.
    """
    marked = [dict(point) for point in points]
    words = [set(point["overrides"]) for point in marked if point["overrides"] or point["state"] != UNFINISHED]
    shared = set.intersection(*words) if len(words) > 1 else set()
    for point in marked:
        point["varies"] = [word for word in point["overrides"] if word not in shared]
        point["front"] = point["size_front"] = False
    groups: dict[str, list[dict[str, Any]]] = {}
    for point in marked:
        if point["device"] is not None:
            groups.setdefault(repr((point["device"], point["judged_on"])), []).append(point)
    devices = [_device(group) for group in groups.values()]
    return {
        "schema": SCHEMA,
        "name": name,
        "shared": sorted(shared),
        "states": {state: sum(point["state"] == state for point in marked) for state in _states(marked)},
        "sharing": _sharing(marked),
        "devices": devices,
        "points": marked,
    }


def _sharing(points: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns the steps that ran and that were reused, and how long those took when they were made; None where no point
    noted its steps."""
    noted = [point["steps"] for point in points if point["steps"]]
    return (
        {key: round(sum(one.get(key, 0) for one in noted), 3) for key in ("run", "reused", "saved_s")}
        if noted
        else None
    )


def _states(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the states that occur, what was built first."""
    return sorted({point["state"] for point in points}, key=lambda state: (state != BUILT, state))


def _device(group: list[dict[str, Any]]) -> dict[str, Any]:
    """Marks the front of the points of one device, judged on the same pictures, and returns the verdict on them."""
    shippable = [point for point in group if point["state"] == BUILT]
    for mark, figure in (("front", "latency_p50_ms"), ("size_front", "size_bytes")):
        front = {id(point) for point in pareto_front(shippable, figure)}
        for point in shippable:
            point[mark] = id(point) in front
    best = choice(shippable)
    machines = sorted({point["machine"] for point in group if point["machine"]})
    return {
        "device": group[0]["device"],
        "judged_on": group[0]["judged_on"],
        "points": [point["point"] for point in group],
        "front": [point["point"] for point in group if point["front"]],
        "size_front": [point["point"] for point in group if point["size_front"]],
        "ship": best["point"] if best else None,
        "verdict": verdict(best, len(group)),
        "because": rationale(group, best),
        "machines": machines,
    }


def row_of(point: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row of a point in results.csv: plain values, lists joined."""
    gates = point["gates"]
    words = {"varies": " ".join(point["varies"]), "overrides": " ".join(point["overrides"])}
    met = None if gates is None else " ".join(f"{one['gate']}:{MET[one['met']]}" for one in gates)
    return {column: {**point, **words, "gates": met}[column] for column in COLUMNS}
