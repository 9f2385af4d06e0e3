"""How much of an artifact is in which precision: its layers must be in the precision that its label names. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgecompile.errors import StepError
from edgecompile.runtime.figures import Coverage, LayerShare

FIXES = {
    "int8": "take patterns out of passes.int8_static.exclude, or put the pass 'simplify' before the quantization",
    "bf16": "put the pass 'simplify' before it",
    "fp16": "take operators out of passes.fp16.keep, or put the pass 'simplify' before it",
}
DONE = {"int8": "quantized", "fp16": "stored in FP16", "bf16": "made bfloat16"}
NOTHING = LayerShare(layers=0, macs=0)
PARTIAL = 0.5
"""Share of the operations of layers with weights under which a precision is remarked upon."""


@dataclass(frozen=True)
class Layer:
    """A layer with weights, as an artifact holds it.

    Attributes:
        precision: what it multiplies in: "int8" where both weights and activations have 8 bits; else that of its stored
            weights, "fp16", "bf16" or "fp32".
        macs: how many products it adds for one picture of the usual size.
    """

    name: str
    precision: str
    macs: int


def coverage_of(layers: Iterable[Layer]) -> Coverage:
    """Returns layers and macs, in all and by precision, as facts: the section `coverage` of a manifest."""
    counted: dict[str, LayerShare] = {}
    for layer in layers:
        part = counted.setdefault(layer.precision, LayerShare(layers=0, macs=0))
        part["layers"] += 1
        part["macs"] += layer.macs
    return Coverage(
        layers=sum(part["layers"] for part in counted.values()),
        macs=sum(part["macs"] for part in counted.values()),
        by_precision=dict(sorted(counted.items())),
    )


def require_precision(coverage: Coverage, precision: str) -> None:
    """Raises:
    StepError: no layer of an artifact is in the precision by which it is called.
    """
    if precision not in DONE or coverage["by_precision"].get(precision, NOTHING)["layers"]:
        return
    if not coverage["layers"]:
        raise StepError(
            f"nothing was {DONE[precision]}: the graph has no convolution or product with constant weights",
            fix="put the pass 'simplify' before the quantization, or build in fp32",
        )
    raise StepError(
        f"nothing was {DONE[precision]}: 0 of {coverage['layers']} layers with weights are in {precision} in the "
        "artifact",
        fix=FIXES[precision],
    )


def share(coverage: Coverage, precision: str) -> float:
    """Returns the share of the operations of layers with weights that are computed in a precision, 0 to 1."""
    return coverage["by_precision"].get(precision, NOTHING)["macs"] / max(coverage["macs"], 1)


def remarks(coverage: Coverage | None, precision: str) -> list[str]:
    """Returns what to know of an artifact that is in its precision for the smaller part, or that is called float and
    holds less."""
    if coverage is None:
        return []
    if precision in DONE and (part := share(coverage, precision)) < PARTIAL:
        count = coverage["by_precision"][precision]["layers"]
        return [
            f"only {part:.0%} of the operations of layers with weights are in {precision} "
            f"({count} of {coverage['layers']} layers)"
        ]
    less = [name for name in coverage["by_precision"] if precision == "fp32" and name != "fp32"]
    return [f"the precision is called fp32, and weights of layers are in {', '.join(less)}"] if less else []
