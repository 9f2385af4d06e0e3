"""The search for a mix of INT8 and float that meets a gate on accuracy: what is tried, and what came of it. Pure.

A sensitivity analysis proposes mixes with ever less loss; only a few are built and judged. Loss, simulated without
labels, and drop, judged with them, are taken to be proportional: that chooses the first mix, and every one is judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import cast

from edgecompile.json_types import JsonObject
from edgecompile.quantization.sensitivity_document import Proposal, Sensitivity

MARGIN = 0.8
"""Share of the allowed drop that the first mix is chosen for: what is simulated is not what is judged."""
NEAR = 1.5
"""How many times the allowed drop plain INT8 may lose for other ranges alone to be tried first: ranges by percentiles
left 0.6 to 0.9 of the drop of narrow detectors, and they cost no time on the device."""
PERCENTILE = 99.99
MUCH_WORSE = 2.5
"""How many times the loss of the first mix another may have that is tried where no better one is left."""
SHOWN = 4
"""Blocks that a line names."""
NEXT = 0.6
"""Share of the loss of a mix that failed that the next one may have."""


@dataclass(frozen=True)
class Candidate:
    """A mix that was built and judged.

    Attributes:
        blocks: that are in float, or of which layers are.
        keep_float: the same as `passes.int8_static.keep_float` of a recipe takes it.
        loss: simulated.
        cost: share of the products with weights that is in float.
        slowdown: how many times the time of plain INT8 it takes, estimated.
        accuracy: main metric, as judged; None where it was not built.
        met: whether all gates on accuracy are met.
        method: of ranges, where that is another one than the recipe's: nothing else changes then.
    """

    blocks: tuple[str, ...]
    keep_float: tuple[str, ...]
    loss: float
    cost: float
    slowdown: float
    accuracy: float | None = None
    met: bool = False
    method: str = ""

    @property
    def changes(self) -> dict[str, object]:
        """Fields of `int8_static` that the mix sets, but for `keep_float`, to which it adds."""
        return {"method": self.method, "percentile": PERCENTILE} if self.method else {}


@dataclass(frozen=True)
class BlockPrecision:
    """A block of the network as it ships.

    Attributes:
        precision: "int8", "float", or "mixed" where some of its layers are in float.
        loss: of what the float model finds, where it alone is in INT8, simulated.
        cost: its share of the products with weights.
        cause: why it loses, for people; "" where that was not looked at, or nothing stands out.
    """

    name: str
    precision: str
    loss: float
    cost: float
    cause: str = ""


@dataclass(frozen=True)
class Repair:
    """What became of INT8 that missed a gate on accuracy.

    Attributes:
        gate: the gate that was missed, with the largest drop it allows, `allowed`.
        plain_accuracy, plain_drop: main metric of plain INT8, and its drop.
        loss: of plain INT8, simulated.
        candidates: in the order in which they were tried; the last one ships if it is met.
        blocks: of the network as it ships, in the order of the graph; as plain INT8 where no candidate is met.
        why_not: why nothing was repaired; "" where it was.
        max_slowdown: how many times the time of plain INT8 a mix might take, estimated; None in older locks.
        float_precision: what the device computes in that stays in float, such as "fp16"; "" in older locks.
    """

    gate: str
    allowed: float
    plain_accuracy: float
    plain_drop: float
    loss: float
    candidates: tuple[Candidate, ...]
    blocks: tuple[BlockPrecision, ...]
    why_not: str = ""
    max_slowdown: float | None = None
    float_precision: str = ""

    @property
    def chosen(self) -> Candidate | None:
        """The mix that ships."""
        return next((one for one in self.candidates if one.met), None)

    @property
    def line(self) -> str:
        """What became of it, in a line for people."""
        missed = f"INT8 misses gates.{self.gate} ({self.plain_drop:.4f} > {self.allowed:.4f})"
        if self.allowed < 0 and self.chosen is None:  # a limit that no recipe states, and `why_not` explains
            missed = f"INT8 misses gates.{self.gate}"
        if self.chosen is None:
            return f"{missed} and is not repaired: {self.why_not}"
        if self.chosen.method:
            return (
                f"{missed} and is repaired by other ranges: {self.chosen.method} {PERCENTILE:g}, nothing more in float"
            )
        blocks = self.chosen.blocks
        named = ", ".join(blocks[:SHOWN]) + (", …" if len(blocks) > SHOWN else "")
        return (
            f"{missed} and is repaired: {len(blocks)} of {len(self.blocks)} blocks in "
            f"{self.float_precision.upper() or 'float'} ({named}), "
            f"{self.chosen.cost:.0%} of the operations, about {self.chosen.slowdown:.2f} times the time of plain INT8"
        )

    @property
    def statement(self) -> str:
        """How a recipe states what was chosen, so that nothing is searched; "" where nothing was."""
        if self.chosen is None:
            return ""
        kept = {"keep_float": json.dumps(self.chosen.keep_float)} if self.chosen.keep_float else {}
        stated = {**self.chosen.changes, **kept}
        return f"passes.int8_static: {{{', '.join(f'{name}: {value}' for name, value in stated.items())}}}"

    def to_json(self) -> JsonObject:
        return cast("JsonObject", json.loads(json.dumps(asdict(self))))  # tuples are lists in JSON


def slowdown(cost: float, gain: float) -> float:
    """Returns how many times the time of plain INT8 a mix takes, estimated.

    Args:
        cost: share of the products with weights that is in float.
        gain: how many times as fast INT8 is as float.
    """
    return 1 + cost * (gain - 1)


def other_ranges(method: str, plain_drop: float, allowed: float) -> Candidate | None:
    """Returns plain INT8 with other ranges, where these alone may suffice.

    Args:
        method: by which the recipe measures ranges.
        plain_drop: of plain INT8.
        allowed: the largest drop.
    """
    near = method == "minmax" and 0 < plain_drop <= NEAR * allowed
    return Candidate((), (), 0.0, 0.0, 1.0, method="percentile") if near else None


def choices(
    found: Sensitivity,
    plain_drop: float,
    allowed: float,
    gain: float,
    most: int,
    max_slowdown: float,
    method: str = "",
) -> Iterator[Candidate]:
    """Yields the mixes to build and judge, until one is met.

    Args:
        plain_drop: of plain INT8.
        allowed: the largest drop.
        gain: see `slowdown`.
        most: how many at most.
        max_slowdown: of a mix.
        method: by which the recipe measures ranges.
    """
    if ranges := other_ranges(method, plain_drop, allowed):
        yield ranges
        most -= 1
    affordable = [one for one in found.proposals if slowdown(one.cost, gain) <= max_slowdown]
    target = found.loss * MARGIN * max(allowed, 0.0) / plain_drop if plain_drop > 0 else 0.0
    for chosen in _in_turn(affordable, target)[:most]:
        yield Candidate(
            chosen.blocks, chosen.keep_float, chosen.loss, chosen.cost, round(slowdown(chosen.cost, gain), 3)
        )


def _in_turn(proposals: Sequence[Proposal], target: float) -> list[Proposal]:
    """Returns mixes in the order in which they are tried: the first whose loss is within the target, or else the best;
    then each that is clearly better than the one before; then, since what is simulated is not what is judged, those
    that are not much worse than the first."""
    left = list(proposals)
    turns: list[Proposal] = []
    while left:
        place = next((at for at, one in enumerate(left) if one.loss <= target), len(left) - 1)
        turns.append(left[place])
        left = left[place + 1 :]
        target = turns[-1].loss * NEXT
    others = [one for one in reversed(proposals) if one not in turns]
    return turns + [one for one in others if one.loss <= turns[0].loss * MUCH_WORSE]


def precisions(found: Sensitivity, candidate: Candidate | None) -> tuple[BlockPrecision, ...]:
    """Returns each block of a network with its precision in a mix; plain INT8 where None."""
    mix = next((one for one in found.proposals if candidate and one.blocks == candidate.blocks), None)
    in_float = set(mix.in_float) if mix else set()

    def precision(layers: Sequence[str]) -> str:
        count = sum(layer in in_float for layer in layers)
        return "int8" if not count else "float" if count == len(layers) else "mixed"

    return tuple(
        BlockPrecision(block.name, precision(block.layers), block.loss, block.cost, block.cause)
        for block in found.blocks
    )


def why_not(found: Sensitivity, candidates: Sequence[Candidate], gain: float, max_slowdown: float) -> str:
    """Returns why no mix is shipped, with the cause."""
    worst = found.worst()
    named = [f"{block.name} ({block.cause})" if block.cause else block.name for block in worst[:2]]
    cause = f"most is lost in {' and '.join(named)}" if named else "no block could be ranked"
    dear = [one for one in found.proposals if slowdown(one.cost, gain) > max_slowdown]
    if candidates:
        best = max(candidates, key=lambda one: one.accuracy or 0.0)
        what = f"{len(best.blocks)} blocks in float" if best.blocks else "other ranges"
        tried = f"of {len(candidates)} mixes that were built, the best, with {what}, reaches {best.accuracy or 0:.4f}"
        more = f"; more would take over {max_slowdown:g} times the time of INT8 (repair.max_slowdown): ship float"
        return f"{tried}{more if dear else ''}; {cause}"
    if dear:
        over = f"over {max_slowdown:g} times the time of INT8"
        return f"what loses most would take {over} in float: ship float; {cause}"
    return f"no mix of INT8 and float loses less; {cause}"
