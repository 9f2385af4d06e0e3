"""Gates: conditions of a recipe on the figures of a build. Pure. An unmet one ends the build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from edgecompile.evaluate.metrics import per_class_drops
from edgecompile.runtime.measured_gates import MEASURED, Gate, Verdict, compared, named, raise_unmet

__all__ = ["GATES", "Gate", "Verdict", "judge", "raise_unmet"]

NOTHING_FOUND = 0.01
"""mAP50-95 of the float model under which a comparison with it proves nothing."""

SHOWN_CLASSES = 3
ON_ACCURACY = ("map_drop", "map50_95", "map50")
COLLAPSED = 0.5
"""Share of the float model's mAP50-95 under which an artifact is broken. It fails the build of a recipe that has no
gate on accuracy too: nothing broken ships unasked."""


def _megabytes(figures: Mapping[str, Any]) -> float | None:
    size = figures.get("size_bytes")
    return None if size is None else size / 1e6


GATES = {
    "map_drop": Gate(named("map_drop"), digits=4),
    "map50_95": Gate(named("map50_95"), floor=True, digits=4),
    "map50": Gate(named("map50"), floor=True, digits=4),
    **{name: gate for name, gate in MEASURED.items() if name != "fps_per_watt"},
    "size_mb": Gate(_megabytes, unit=" MB", digits=3),
    "fps_per_watt": MEASURED["fps_per_watt"],
}
"""Every gate by its name in a recipe. A megabyte is 10^6 bytes."""


Limits = Mapping[str, float | None] | Iterable[tuple[str, float | None]]
"""Name to limit or None; a mapping or pairs (iterating a pydantic model gives pairs)."""


def judge(
    gates: Limits,
    figures: Mapping[str, Any],
    *,
    on_device: bool = False,
) -> list[Verdict]:
    """Judges every gate that has a limit, in the order of `GATES`.

    Args:
        gates: those of the recipe.
        figures: `deterministic_metrics(...)` and a measurement as JSON, merged.
        on_device: whether gates on what is measured are left to the device, where the model is finished.
    """
    limits = _limits(gates)
    later = {name for name in limits if on_device and GATES[name].measured}
    verdicts = [
        _left_to_device(name, limits[name]) if name in later else _verdict(name, limits[name], figures)
        for name in GATES
        if name in limits
    ]
    return verdicts if limits.keys() & {*ON_ACCURACY} else [*_collapse(figures), *verdicts]


def remarks(gates: Limits, figures: Mapping[str, Any]) -> list[str]:
    """Returns what to know of the figures of a recipe that has no gate on accuracy."""
    if _limits(gates).keys() & {*ON_ACCURACY}:
        return []
    if figures["reference"]["map50_95"] < NOTHING_FOUND:
        return [f"nothing is proven: {_blind(figures)}"]
    return ["no gate is on accuracy, which may fall by half before a build ends: for example gates.map_drop=0.02"]


def _limits(gates: Limits) -> dict[str, float]:
    return {name: limit for name, limit in dict(gates).items() if limit is not None}


def _collapse(figures: Mapping[str, Any]) -> list[Verdict]:
    """Returns an unmet gate where an artifact has lost most of what the float model finds; else none."""
    before, after = (figures.get("reference") or {}).get("map50_95"), figures.get("map50_95")
    if before is None or after is None or before < NOTHING_FOUND or after >= COLLAPSED * before:
        return []
    limit = round(before * (1 - COLLAPSED), 6)
    fall = _fall(before - after, limit, figures, met=False)
    text = f"{fall}; the recipe has no gate on accuracy, and half of it is gone: gates.map_drop=1 lets it pass"
    return [Verdict("map_drop", limit, round(before - after, 6), False, False, text)]


def _left_to_device(name: str, limit: float) -> Verdict:
    return Verdict(name, limit, None, None, True, f"judged on the device; limit {limit:g}{GATES[name].unit}")


def _verdict(name: str, limit: float, figures: Mapping[str, Any]) -> Verdict:
    verdict = compared(name, GATES[name], limit, figures)
    if verdict.figure is None:
        return verdict
    if name == "map_drop":
        if figures["reference"]["map50_95"] < NOTHING_FOUND:
            return replace(verdict, met=False, text=_blind(figures))
        return replace(verdict, text=_fall(verdict.figure, limit, figures, bool(verdict.met)))
    if name in ("map50_95", "map50") and not verdict.met:
        return replace(verdict, text=verdict.text + _lowest(figures))
    return verdict


def _fall(drop: float, limit: float, figures: Mapping[str, Any], met: bool) -> str:
    """Returns the line of the accuracy drop; where it is too deep, with the classes that fell most."""
    before, after = figures["reference"]["map50_95"], figures["map50_95"]
    text = f"{before:.4f} → {after:.4f} (drop {drop:.4f}, limit {limit:g})"
    deepest = [
        f"{name} {old:.2f} → {new:.2f}" for name, old, new in per_class_drops(figures)[:SHOWN_CLASSES] if new < old
    ]
    return f"{text}; fell most: {', '.join(deepest)}" if deepest and not met else text


def _blind(figures: Mapping[str, Any]) -> str:
    """Returns the line for a float model that finds nothing, with which nothing can be compared."""
    if not figures.get("objects", 1):
        return "the validation pictures carry no labelled object, so accuracy cannot be judged"
    found = figures["reference"]["map50_95"]
    return f"the float model reaches only {found:.4f} on these pictures: do weights, classes and data belong together?"


def _lowest(figures: Mapping[str, Any]) -> str:
    """Returns the classes that are found worst."""
    ranked = sorted(figures.get("per_class", {}).items(), key=lambda item: (item[1]["map50_95"], item[0]))
    shown = [f"{name} {one['map50_95']:.2f}" for name, one in ranked[:SHOWN_CLASSES]]
    return f"; lowest: {', '.join(shown)}" if shown else ""
