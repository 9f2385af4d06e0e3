"""Gates: conditions of a recipe on the figures of a build. Pure. An unmet one ends the build."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgecompile.errors import GateError, Problem
from edgecompile.evaluate.figures import falls

NOTHING_FOUND = 0.01
"""mAP50-95 of the float model under which a comparison with it proves nothing."""

SHOWN_CLASSES = 3


@dataclass(frozen=True)
class Verdict:
    """One gate, judged.

    Attributes:
        gate: its name in the recipe.
        limit: its number there.
        figure: what it was compared with; None where that cannot be told.
        met: whether it holds. A figure that cannot be told meets no gate. None where it is judged on the device.
        measured: whether the figure is a measurement of this machine, and so stays out of the bundle.
        text: one line for a person.
    """

    gate: str
    limit: float
    figure: float | None
    met: bool | None
    measured: bool
    text: str

    def __str__(self) -> str:
        return f"gate {self.gate}: {self.text}"

    def for_manifest(self) -> dict[str, Any]:
        """Returns the verdict as the bundle states it: without a figure that another machine would not repeat."""
        figure = None if self.measured else self.figure
        return {"gate": self.gate, "limit": self.limit, "figure": figure, "met": self.met, "measured": self.measured}

    def for_report(self) -> dict[str, Any]:
        """Returns the whole verdict as plain JSON values."""
        return {**self.for_manifest(), "figure": self.figure, "text": str(self)}


@dataclass(frozen=True)
class Gate:
    """What a gate reads and how it compares.

    Attributes:
        read: takes the figure out of all figures; None where it is not there.
        floor: whether the limit is the least that will do, not the most.
        measured: see `Verdict`.
        unit: of the limit, after a space.
        digits: after the point, where the figure is shown.
    """

    read: Callable[[Mapping[str, Any]], float | None]
    floor: bool = False
    measured: bool = False
    unit: str = ""
    digits: int = 1

    def show(self, value: float) -> str:
        return f"{value:.{self.digits}f}{self.unit}"


def _megabytes(figures: Mapping[str, Any]) -> float | None:
    size = figures.get("size_bytes")
    return None if size is None else size / 1e6


def _named(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda figures: figures.get(name)


GATES = {
    "map_drop": Gate(_named("map_drop"), digits=4),
    "map50_95": Gate(_named("map50_95"), floor=True, digits=4),
    "map50": Gate(_named("map50"), floor=True, digits=4),
    "latency_p95_ms": Gate(_named("latency_p95_ms"), measured=True, unit=" ms", digits=2),
    "fps": Gate(_named("fps"), floor=True, measured=True, unit=" FPS"),
    "peak_memory_mb": Gate(_named("peak_memory_mb"), measured=True, unit=" MB"),
    "size_mb": Gate(_megabytes, unit=" MB", digits=3),
    "fps_per_watt": Gate(_named("fps_per_watt"), floor=True, measured=True, unit=" FPS/W", digits=2),
}
"""Every gate by its name in a recipe. A megabyte is 10^6 bytes."""


def judge(
    gates: Mapping[str, float | None] | Iterable[tuple[str, float | None]],
    figures: Mapping[str, Any],
    *,
    on_device: bool = False,
) -> list[Verdict]:
    """Judges every gate that has a limit, in the order of `GATES`.

    Args:
        gates: name to limit or None; a mapping or pairs (iterating a pydantic model gives pairs).
        figures: `figures.lasting(...)` and `figures.measured(...)` merged.
        on_device: whether gates on what is measured are left to the device, where the model is finished.
    """
    limits = {name: limit for name, limit in dict(gates).items() if limit is not None}
    later = {name for name in limits if on_device and GATES[name].measured}
    return [
        _left_to_device(name, limits[name]) if name in later else _verdict(name, limits[name], figures)
        for name in GATES
        if name in limits
    ]


def raise_unmet(verdicts: Iterable[Verdict]) -> None:
    """Raises GateError with one line for each gate that is not met; returns where none is."""
    unmet = [Problem(str(verdict)) for verdict in verdicts if verdict.met is False]
    if unmet:
        raise GateError(unmet)


def _left_to_device(name: str, limit: float) -> Verdict:
    return Verdict(name, limit, None, None, True, f"judged on the device; limit {limit:g}{GATES[name].unit}")


def _verdict(name: str, limit: float, figures: Mapping[str, Any]) -> Verdict:
    gate = GATES[name]
    figure = gate.read(figures)
    if figure is None:
        why = figures.get("unmeasured", {}).get(name)
        text = f"cannot be measured here{f' ({why})' if why else ''}; limit {limit:g}{gate.unit}"
        return Verdict(name, limit, None, False, gate.measured, text)
    met = figure >= limit if gate.floor else figure <= limit
    if name == "map_drop":
        if figures["reference"]["map50_95"] < NOTHING_FOUND:
            return Verdict(name, limit, figure, False, gate.measured, _blind(figures))
        text = _fall(figure, limit, figures, met)
    else:
        side = ("at least" if gate.floor else "at most") if met else ("below" if gate.floor else "above")
        text = f"{gate.show(figure)}, {side} the limit {limit:g}{gate.unit}"
        text += _lowest(figures) if name in ("map50_95", "map50") and not met else ""
    return Verdict(name, limit, figure, met, gate.measured, text)


def _fall(drop: float, limit: float, figures: Mapping[str, Any], met: bool) -> str:
    """Returns the line of the accuracy drop; where it is too deep, with the classes that fell most."""
    before, after = figures["reference"]["map50_95"], figures["map50_95"]
    text = f"{before:.4f} → {after:.4f} (drop {drop:.4f}, limit {limit:g})"
    deepest = [f"{name} {old:.2f} → {new:.2f}" for name, old, new in falls(figures)[:SHOWN_CLASSES] if new < old]
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
