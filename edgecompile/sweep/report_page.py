"""A sweep as one page that needs nothing else, readable offline and on a phone.

As the page of a build, but with a few lines of script that sort and filter its table. The content security policy
names that script by its digest, so a name from a recipe that looks like a script is never run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from edgecompile.report.html import TEMPLATES, _environment
from edgecompile.report.number_format import EXCLUSIVE
from edgecompile.sweep.chart import scatter
from edgecompile.sweep.verdict import BUILT


def render_sweep(sweep: Mapping[str, Any], *, pages: frozenset[str] = frozenset()) -> str:
    """Returns the page of a sweep.

    Args:
        sweep: what `edgecompile.sweep.sweep_results.sweep_of` returned.
        pages: points that have a page of their own, to which theirs is linked.

    Raises:
        MissingToolError: when jinja2 is not installed.
    """
    script = (TEMPLATES / "sweep.js").read_text(encoding="utf-8")
    points = {point["point"]: point for point in sweep["points"]}
    devices = [_device(device, [points[name] for name in device["points"]]) for device in sweep["devices"]]
    return (
        _environment()
        .get_template("sweep.html.j2")
        .render(
            sweep=sweep,
            devices=devices,
            failures=[point for point in sweep["points"] if point["state"] != BUILT],
            built=BUILT,
            links={name: f"{quote(name)}/report.html" for name in pages},
            script=script,
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        )
    )


def _device(device: Mapping[str, Any], points: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a device with what the page draws and lists for it."""
    clocks = sorted({point["clock_mhz"] for point in points if point["clock_mhz"]})
    return {
        **device,
        "latency": scatter(points),
        "size": scatter(points, "size_bytes", "size_front", 1e6),
        "classes": _classes(device, {point["point"]: point for point in points}),
        "steps": _steps(points),
        "clock": " to ".join(f"{clock} MHz" for clock in dict.fromkeys((*clocks[:1], *clocks[-1:]))),
        "exclusive": EXCLUSIVE if all(point["exclusive"] for point in points if point["machine"]) else "",
    }


def _steps(points: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns what each step that makes an artifact did, once for all points that share it."""
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    for point in points:
        for one in point["did"]:
            found.setdefault((one["step"], one["key"]), {**one, "points": []})["points"].append(point["point"])
    return list(found.values())


def _classes(device: Mapping[str, Any], points: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each class: by how much it changed at each point of a device; the deepest fall first."""
    changes: dict[str, dict[str, float]] = {}
    for name in device["points"]:
        for one in points[name]["classes"]:
            changes.setdefault(one["name"], {})[name] = one["artifact"] - one["reference"]
    rows = [
        {"name": name, "changes": [by_point.get(point) for point in device["points"]], "worst": min(by_point.values())}
        for name, by_point in changes.items()
    ]
    return sorted(rows, key=lambda row: (row["worst"], row["name"]))
