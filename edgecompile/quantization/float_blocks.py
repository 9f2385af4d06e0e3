"""Which blocks to leave in float so that a network in INT8 loses less: mixes with ever less loss and ever more cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from edgecompile.graphs.onnx.blocks import SEPARATOR
from edgecompile.quantization.sensitivity_document import Proposal

if TYPE_CHECKING:
    from edgecompile.graphs.onnx.blocks import Block
    from edgecompile.quantization.partial_int8 import PartialInt8

LEAST_LOSS = 0.05
"""Share of the largest loss of a block under which leaving a block in float is not worth its cost."""
LEAST_SAVING = 0.02
"""Share of the loss of the whole network by which a mix has to be better than the one before."""
FIXED_COST = 0.01
"""Cost that a block in float has beside its products, as a share of all of them: the conversions at its borders."""
MOST_BLOCKS = 16
"""Blocks of the largest mix."""
ENOUGH = 0.1
"""Share of the loss of the whole network in INT8 at which no further block is added."""
REFINED = 0.1
"""Cost of a block from which on its layers are looked at one by one."""
KEPT = 0.1
"""Share of what a block in float saves that may be given up for layers of it that return to INT8."""
DIGITS = 6


def propose(subject: PartialInt8, losses: Mapping[str, float]) -> Iterator[Proposal]:
    """Yields mixes, each with the blocks of the one before and one or more beside.

    The next block is the one that loses most for what it costs; in a costly one, layers that lose little return to
    INT8.

    Args:
        losses: name of a block to the loss where it alone is in INT8.
    """
    largest = max(losses.values(), default=0.0)
    worth = [block for block in subject.blocks if losses[block.name] >= LEAST_LOSS * largest > 0]
    order = sorted(worth, key=lambda block: -losses[block.name] / (_cost(subject, block) + FIXED_COST))
    whole = subject.loss(subject.parts)
    in_float: frozenset[str] = frozenset()
    blocks: list[str] = []
    least = whole
    for block in order[:MOST_BLOCKS]:
        in_float |= _needed(subject, block, subject.parts - in_float)
        left = subject.loss(subject.parts - in_float)
        blocks.append(block.name)
        if least - left < LEAST_SAVING * whole:
            continue  # the next block may save what this one prepared
        least = left
        layers = [layer for name in subject.layers for layer in subject.layers[name] if layer.name in in_float]
        nodes = [node for layer in layers for node in layer.nodes]
        yield Proposal(
            in_float=tuple(nodes),
            keep_float=tuple(_by_block(nodes, blocks, [node.name for node in subject.structure.nodes])),
            blocks=tuple(blocks),
            loss=round(left, DIGITS),
            cost=round(subject.cost(in_float), DIGITS),
        )
        if left <= ENOUGH * whole:
            return


def _by_block(nodes: Sequence[str], blocks: Sequence[str], every: Sequence[str]) -> Iterator[str]:
    """Yields the names of nodes, and in place of all that lie in a block its name."""
    left = dict.fromkeys(nodes)
    for block in blocks:
        inside = [node for node in every if node.startswith(f"{block}{SEPARATOR}")]
        if inside and left.keys() >= set(inside):
            yield block
            for node in inside:
                del left[node]
    yield from left


def _cost(subject: PartialInt8, block: Block) -> float:
    return subject.cost(subject.parts_of(block))


def _needed(subject: PartialInt8, block: Block, in_int8: frozenset[str]) -> frozenset[str]:
    """Returns the layers of a block that have to stay in float: all, or, of a costly one, those left when layers that
    lose little have returned to INT8, the costliest for its loss first.

    Args:
        in_int8: layers that are in INT8 before, those of the block among them.
    """
    layers = subject.parts_of(block)
    if _cost(subject, block) < REFINED or len(layers) < 2:
        return layers
    without = in_int8 - layers
    before, best = subject.loss(in_int8), subject.loss(without)
    allowed = best + KEPT * max(before - best, 0.0)
    loss_of = {layer: subject.loss(without | {layer}) - best for layer in sorted(layers)}
    returned: frozenset[str] = frozenset()
    for layer in sorted(loss_of, key=lambda layer: loss_of[layer] / (subject.cost([layer]) + FIXED_COST)):
        trial = returned | {layer}
        if best + sum(loss_of[one] for one in trial) > allowed:
            break
        returned = trial
    confirmed = returned and subject.loss(without | returned) <= allowed
    return layers - returned if confirmed and returned != layers else layers
