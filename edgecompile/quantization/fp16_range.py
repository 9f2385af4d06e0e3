"""Step: which weights of a float model, and which activations on pictures, do not fit into FP16.

A machine that builds computes in float and sees no infinity; a device that computes in FP16 does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from edgecompile.errors import StepError

if TYPE_CHECKING:
    from edgecompile.graphs.onnx.structure import Structure

LARGEST = 65504.0
"""Largest finite number of FP16."""
MARGIN = 4.0
"""Other pictures reach further than those measured: what lies within this factor of the largest is warned of."""
SMALLEST_NORMAL = 2.0**-14
"""Below this, FP16 has fewer digits, and many devices compute with zero."""
SMALLEST = 2.0**-24
"""Below half of this nothing is left of a number in FP16."""
FACTORS = {"Conv": (1,), "ConvTranspose": (1,), "Div": (0, 1), "Gemm": (0, 1), "MatMul": (0, 1), "Mul": (0, 1)}
"""Operators that multiply with constants, and which of their inputs these are: without them nothing is left of what
they read. A bias or the small number that keeps a root from zero may vanish."""
WEIGHED = frozenset(
    {"Add", "BatchNormalization", "Conv", "ConvTranspose", "Div", "Gemm", "MatMul", "Mul", "PRelu", "Sub"}
)
"""Operators whose constants are computed with; those of others are limits, paddings and shapes."""
SHOWN = 6


@dataclass(frozen=True)
class Reach:
    """The largest magnitude of a tensor.

    Attributes:
        layer: name of the node that puts it out, or that reads it as weights.
    """

    tensor: str
    layer: str
    largest: float

    def __str__(self) -> str:
        return f"{self.layer} ({self.largest:.3g})"


class RangeFacts(TypedDict):
    """What the step returns.

    largest: largest magnitude of an activation, of those that become FP16.
    largest_weight: the same of weights.
    measured_on: the pictures.
    """

    largest: float
    largest_weight: float
    measured_on: str
    warnings: list[str]


def check(
    out: Path, *, model: Path, pictures: str, keeps_float: bool, fix: str, ranges: Path | None = None
) -> RangeFacts:
    """Writes `beyond.json`: `activations`, names of those that do not fit into FP16, and `layers`, names of the nodes
    whose weights do not.

    Args:
        model: the float model, ONNX.
        pictures: what the ranges were measured on, for the messages.
        keeps_float: whether layers may be left in float for these tensors; the decode part, which is in float then, is
            not looked at.
        fix: what else helps.
        ranges: `ranges.json` of a calibration by minimum and maximum; None where activations stay in float.

    Raises:
        StepError: some do not fit, and no layer may be left in float.
    """
    from edgecompile.graphs.onnx.serialization import load
    from edgecompile.graphs.onnx.structure import Structure, name_nodes

    graph = load(model)
    name_nodes(graph.graph.node)
    structure = Structure(graph)
    in_float = {node.output[0] for node in structure.decode()} if keeps_float else set()
    limits = json.loads(ranges.read_text(encoding="utf-8")) if ranges else {}
    activations = _activations(structure, limits, in_float)
    weights, factors = _constants(structure, in_float), _constants(structure, in_float, FACTORS)
    large = [reach for reach in (*activations, *weights) if reach.largest > LARGEST]
    lost = [reach for reach in factors if 0 < reach.largest < SMALLEST / 2]
    unfit = sorted([*large, *lost], key=lambda reach: -reach.largest)
    if unfit and not keeps_float:
        raise StepError(_line(unfit, "beyond FP16 (6e-08 to 65504)", pictures), fix=fix)
    beyond = {
        "activations": sorted(reach.tensor for reach in unfit if reach in activations),
        "layers": sorted({reach.layer for reach in unfit if reach not in activations}),
    }
    (out / "beyond.json").write_text(json.dumps(beyond), encoding="utf-8")
    kept = set(left_in_float(structure, out / "beyond.json"))
    warnings = [_line(unfit, "beyond FP16 (6e-08 to 65504), left in float,", pictures)] if unfit else []
    return {
        "largest": max((reach.largest for reach in activations), default=0.0),
        "largest_weight": max((reach.largest for reach in weights), default=0.0),
        "measured_on": pictures or "no pictures: activations stay in float",
        "warnings": [
            *warnings,
            *_warnings(activations, [reach for reach in factors if reach.layer not in kept], pictures),
        ],
    }


def _activations(structure: Structure, ranges: Mapping[str, Sequence[float]], in_float: set[str]) -> list[Reach]:
    """Returns the reach of each measured tensor that some node outside of the part in float makes or reads."""
    reaches = []
    for name, (low, high) in ranges.items():
        node = structure.producer.get(name)
        touching = [*([node] if node is not None else []), *structure.consumers.get(name, [])]
        if name not in structure.fixed and any(reader.output[0] not in in_float for reader in touching):
            reaches.append(Reach(name, node.name if node is not None else "the picture", max(-low, high)))
    return reaches


def _constants(
    structure: Structure, in_float: set[str], places: Mapping[str, Sequence[int]] | None = None
) -> list[Reach]:
    """Returns the reach of each constant that a node outside of the part in float computes with.

    Args:
        places: operators, and the places of their inputs that count; all of `WEIGHED` where None.
    """
    import numpy as np

    reaches = []
    for node in structure.nodes:
        if node.op_type not in (places or WEIGHED) or node.output[0] in in_float:
            continue
        read = [node.input[at] for at in places[node.op_type] if at < len(node.input)] if places else node.input
        for name in set(read) & structure.constants:
            value = structure.value(name)
            if value.dtype == np.float32 and value.size:
                reaches.append(Reach(name, node.name, float(np.abs(value).max())))
    return sorted(reaches, key=lambda reach: (reach.tensor, reach.layer))


def _warnings(activations: list[Reach], factors: list[Reach], pictures: str) -> Iterator[str]:
    """Yields a line on what other pictures may bring beyond FP16, and a line on what has few digits there."""
    if near := [reach for reach in activations if LARGEST / MARGIN < reach.largest <= LARGEST]:
        near.sort(key=lambda reach: -reach.largest)
        yield _line(near, f"within a factor of {MARGIN:.0f} of 65504, the largest of FP16,", pictures)
    if tiny := [reach for reach in (*activations, *factors) if 0 < reach.largest < SMALLEST_NORMAL]:
        yield _line(tiny, "below 6.1e-05, the smallest normal number of FP16,", pictures)


def _line(reaches: list[Reach], problem: str, pictures: str) -> str:
    """Returns what is wrong, with which layers and on which pictures."""
    layers = len({reach.layer for reach in reaches})
    place = f" on the {pictures}" if pictures else ""
    return f"numbers {problem} in {layers} layer{'' if layers == 1 else 's'}{place}: {_named(reaches)}"


def _named(reaches: Iterable[Reach]) -> str:
    by_layer = {reach.layer: reach for reach in reversed(list(reaches))}
    names = [str(reach) for reach in reversed(by_layer.values())]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def left_in_float(structure: Structure, beyond: Path) -> list[str]:
    """Returns the names of the nodes that stay in float for numbers that do not fit into FP16: those that make or read
    such activations and their quantized copies, and those with such weights.

    Args:
        structure: of the float graph, or of a graph quantized from it.
        beyond: the `beyond.json` of `check`.
    """
    listed = json.loads(beyond.read_text(encoding="utf-8"))
    names: dict[str, None] = {}
    for node in structure.nodes:
        if node.name in listed["layers"]:
            names[node.name] = None
            names |= dict.fromkeys(structure.producer[name].name for name in node.input if name in structure.producer)
    frontier = list(listed["activations"])
    while frontier:
        name = frontier.pop()
        node = structure.producer.get(name)
        for neighbour in (*([node] if node is not None else []), *structure.consumers.get(name, [])):
            names[neighbour.name] = None
            if neighbour.op_type == "QuantizeLinear" and name == neighbour.input[0]:
                frontier += [reader.output[0] for reader in structure.consumers.get(neighbour.output[0], [])]
    return list(names)
