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
from edgecompile.report.sweep import BUILT
from edgecompile.report.sweep_chart import scatter


def render_sweep(sweep: Mapping[str, Any], *, pages: frozenset[str] = frozenset()) -> str:
    """Returns the page of a sweep.

    Args:
        sweep: what `edgecompile.report.sweep.sweep_of` returned.
        pages: points that have a page of their own, to which theirs is linked.

    Raises:
        MissingToolError: when jinja2 is not installed.
    """
    script = (TEMPLATES / "sweep.js").read_text(encoding="utf-8")
    points = {point["point"]: point for point in sweep["points"]}
    devices = [
        {**device, "chart": scatter(points[name] for name in device["points"]), "classes": _classes(device, points)}
        for device in sweep["devices"]
    ]
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
