"""What the page shows of the times of layers: taken here, on a device, or both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from edgecompile.report.document import Report
from edgecompile.report.number_format import machine_line
from edgecompile.runtime.layer_profile import LayerProfile, LayerTime, OperatorTime

SLOWEST = 20
"""Layers that the page lists one by one; report.json has all."""


class LayerView(NamedTuple):
    """A profile with what of it is listed, and where it was taken."""

    machine: str
    profile: LayerProfile
    operators: list[OperatorTime]
    slowest: list[LayerTime]
    fusions: list[tuple[str, tuple[str, ...], int]]


def layer_views(report: Report) -> Iterator[LayerView]:
    """Yields what to show of the profiles that a report holds."""
    if section := report.get("layers"):
        profile = LayerProfile.from_json(section["profile"])
        yield _view(machine_line({"machine": section["machine"], "threads": profile.threads}), profile)
    device = report.get("device")
    if device and device.get("layers"):
        where = f"{device['address']}: {machine_line(device['measured'])}"
        yield _view(where, LayerProfile.from_json(device["layers"]))


def _view(machine: str, profile: LayerProfile) -> LayerView:
    return LayerView(machine, profile, profile.by_operator(), profile.slowest(SLOWEST), profile.fusions())
