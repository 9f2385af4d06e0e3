"""A sweep as one page that needs nothing else, readable offline and on a phone.

As the page of a build, but with a few lines of script that sort and filter its table. The content security policy
names that script by its digest, so a name from a recipe that looks like a script is never run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from edgecompile.report.html import TEMPLATES, _environment
from edgecompile.report.number_format import EXCLUSIVE
from edgecompile.sweep.chart import Scatter, scatter
from edgecompile.sweep.sweep_point import BUILT, DeviceVerdict, StepAccount, Sweep, SweepPoint
from edgecompile.sweep.verdict import latency, size


@dataclass(frozen=True)
class DevicePage:
    """What the page draws and lists for one device."""

    verdict: DeviceVerdict
    latency: Scatter | None
    size: Scatter | None
    classes: list[ClassChanges]
    steps: list[SharedStep]
    clock: str
    exclusive: str


@dataclass(frozen=True)
class ClassChanges:
    """By how much the main metric of one class changed at each point of a device; None where that is not known."""

    name: str
    changes: tuple[float | None, ...]

    @property
    def worst(self) -> float:
        return min(change for change in self.changes if change is not None)


@dataclass(frozen=True)
class SharedStep:
    """What a step did, and the points that share it."""

    step: StepAccount
    points: tuple[str, ...]


def render_sweep(sweep: Sweep, *, pages: frozenset[str] = frozenset()) -> str:
    """Returns the page of a sweep.

    Args:
        sweep: what `edgecompile.sweep.sweep_results.sweep_of` returned.
        pages: points that have a page of their own, to which this page links.

    Raises:
        MissingToolError: jinja2 is not installed.
    """
    script = (TEMPLATES / "sweep.js").read_text(encoding="utf-8")
    points = {point.point: point for point in sweep.points}
    return (
        _environment()
        .get_template("sweep.html.j2")
        .render(
            sweep=sweep,
            accuracy=sweep.accuracy_title,
            devices=[_device(verdict, [points[name] for name in verdict.points]) for verdict in sweep.devices],
            failures=[point for point in sweep.points if point.state != BUILT],
            built=BUILT,
            links={name: f"{quote(name)}/report.html" for name in pages},
            script=script,
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        )
    )


def _device(verdict: DeviceVerdict, points: Sequence[SweepPoint]) -> DevicePage:
    clocks = sorted({point.clock_mhz for point in points if point.clock_mhz})
    return DevicePage(
        verdict=verdict,
        latency=scatter(points, latency, lambda point: point.front),
        size=scatter(points, size, lambda point: point.size_front, 1e6),
        classes=_classes(points),
        steps=_steps(points),
        clock=" to ".join(f"{clock} MHz" for clock in dict.fromkeys((*clocks[:1], *clocks[-1:]))),
        exclusive=EXCLUSIVE if all(point.exclusive for point in points if point.machine) else "",
    )


def _steps(points: Sequence[SweepPoint]) -> list[SharedStep]:
    """Returns what each step that makes an artifact did, once for all points that share it."""
    accounts: dict[tuple[str, str | None], StepAccount] = {}
    sharing: dict[tuple[str, str | None], list[str]] = {}
    for point in points:
        for account in point.did:
            accounts.setdefault((account.step, account.key), account)
            sharing.setdefault((account.step, account.key), []).append(point.point)
    return [SharedStep(account, tuple(sharing[key])) for key, account in accounts.items()]


def _classes(points: Sequence[SweepPoint]) -> list[ClassChanges]:
    """Returns a row for each class; the deepest fall first."""
    changes = [
        {name: after - before for name, before, after in point.figures.falls()} if point.figures else {}
        for point in points
    ]
    names = dict.fromkeys(name for by_class in changes for name in by_class)
    rows = [ClassChanges(name, tuple(by_class.get(name) for by_class in changes)) for name in names]
    return sorted(rows, key=lambda row: (row.worst, row.name))
