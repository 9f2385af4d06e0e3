"""Merges the facts of the validation steps into figures. Pure.

Two kinds are kept apart: those that depend on nothing but the inputs go into the bundle's manifest, those that were
measured on this machine go into the report of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ACCURACY = ("map50_95", "map50", "per_class")


def deterministic_metrics(
    reference: Mapping[str, Any],
    artifact: Mapping[str, Any],
    distance: Mapping[str, Any] | None = None,
    coverage: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the figures of the manifest, which two builds of one recipe share.

    Args:
        reference: facts of `accuracy.evaluate` for the float model.
        artifact: facts of the same step for the artifact that ships.
        distance: facts of `distance.compare`.
        coverage: facts of `quantization.coverage.count`; None for an artifact whose format is not counted.
    """
    figures = {name: artifact[name] for name in ACCURACY}
    figures["reference"] = {name: reference[name] for name in ACCURACY}
    figures["map_drop"] = round(reference["map50_95"] - artifact["map50_95"], 6)
    figures["pictures"] = artifact["pictures"]
    figures["objects"] = artifact["objects"]
    figures["size_bytes"] = artifact["size_bytes"]
    figures["distance"] = {name: (distance or {}).get(name) for name in ("max", "cosine", "sqnr_db")}
    figures["coverage"] = dict(coverage) if coverage else None
    return figures


def per_class_drops(figures: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Returns (class, mAP50-95 of the float model, mAP50-95 of the artifact), the deepest fall first."""
    before, after = figures["reference"]["per_class"], figures["per_class"]
    pairs = [(name, before[name]["map50_95"], after[name]["map50_95"]) for name in before if name in after]
    return sorted(pairs, key=lambda pair: (pair[2] - pair[1], pair[0]))
