"""What to try where a gate is not met: keys of the recipe to change, by what each costs, the cheapest first. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompile.runtime.measured_gates import MEASURED, Verdict

ENOUGH = 300
"""Calibration pictures above which more change little."""
STRIDE = 32


@dataclass(frozen=True)
class Situation:
    """What a recipe builds, as far as it says what can be tried.

    Attributes:
        precision: of the artifact.
        precisions: that the target runs.
        quantizer: name of the pass that quantizes; "" where none does.
        method: how it finds ranges; "" where it does not say.
        repair: whether the search for a repair may run.
        repaired: whether it has run.
        calibration: how many pictures ranges were found on; 0 where none were.
        imgsz: longer side of the pictures that the model takes.
    """

    precision: str
    precisions: tuple[str, ...]
    quantizer: str = ""
    method: str = ""
    repair: bool = False
    repaired: bool = False
    calibration: int = 0
    imgsz: int = 640


def next_steps(verdict: Verdict, at: Situation) -> str:
    """Returns what to try for one unmet gate, in a line; "" where nothing is known to help."""
    if verdict.figure is None and verdict.measured:
        steps = [
            f"gates.{verdict.gate}=null here, and the gate in a recipe that is measured on the device (device.host)"
        ]
    elif verdict.gate in MEASURED:
        steps = _for_speed(verdict.gate, at)
    elif verdict.gate == "size_mb":
        steps = [
            *_other_precision("int8", at, "about a quarter of float's size"),
            "a smaller model (n for s): train again",
        ]
    elif verdict.proven is False and verdict.figure is not None and verdict.figure <= verdict.limit:
        steps = [
            "more pictures in data.validation, which cost their evaluation",
            "gates.confidence=null, which asks less",
        ]
    else:
        steps = _for_accuracy(at)
    numbered = (f"({number}) {step}" for number, step in enumerate(steps, 1))
    return f"try, the cheapest first: {'; '.join(numbered)}" if steps else ""


def _for_accuracy(at: Situation) -> list[str]:
    steps: list[str] = []
    if at.precision == "int8" and at.quantizer:
        key = f"passes.{at.quantizer}"
        if 0 < at.calibration < ENOUGH:
            steps.append(f"data.calibration.images={ENOUGH} instead of {at.calibration}, which costs one calibration")
        if at.method == "minmax":
            steps.append(f"{key}.method=percentile, which costs one calibration")
        if not at.repair:
            steps.append(f"{key}.repair=auto, which builds a few mixes with blocks in float")
        elif at.repaired:
            steps.append(f"{key}.repair='{{max_slowdown: 3, candidates: 6}}', which may cost half the speed of INT8")
    steps += _other_precision("fp16", at, "twice the size of INT8") if at.precision == "int8" else []
    steps += _other_precision("fp32", at, "four times the size of INT8") if at.precision != "fp32" else []
    return [*steps, "a larger model, or one trained longer"] if at.precision == "fp32" or not steps else steps


def _for_speed(gate: str, at: Situation) -> list[str]:
    smaller = at.imgsz * 3 // 4 // STRIDE * STRIDE
    steps = _other_precision("int8", at, "which costs one calibration")
    if at.precision == "fp32":
        steps += _other_precision("fp16", at, "which costs one build")
    if smaller >= STRIDE:
        steps.append(f"model.imgsz={smaller} instead of {at.imgsz}, about half the work, and less accuracy")
    if "memory" not in gate:
        steps.append("another runtime of the device: -m recipe='glob(DEVICE_*)' compares them")
    return [*steps, "a smaller model (n for s): train again"]


def _other_precision(wanted: str, at: Situation, cost: str) -> list[str]:
    if at.precision == wanted or wanted not in at.precisions or (wanted == "fp16" and at.precision == "fp16"):
        return []
    return [f"the recipe of the same device in {wanted.upper()}, {cost}"]
