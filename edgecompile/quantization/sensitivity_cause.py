"""Why a block loses much in 8 bits, found in its numbers: a range that few values need, a channel that stands out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgecompile.graphs.onnx.blocks import Block
    from edgecompile.quantization.partial_int8 import PartialInt8

STANDS_OUT = 6.0
"""How many times the usual reach a channel or a tensor has to have to be named."""
SIDE = 2.0
"""How many times the loss of one side, activations or weights, has to be that of the other to be named alone."""


MEDIAN_OF_NORMAL = 0.6745
"""Median of the absolute values of a normal distribution, in standard deviations."""


def cause_of(subject: PartialInt8, block: Block, activations: float | None, weights: float | None) -> str:
    """Returns the cause for people, or "" where nothing stands out.

    Args:
        activations, weights: loss of the block where only these are in INT8.
    """
    side = _side(activations or 0.0, weights or 0.0)
    named = [_of_weights(subject, block)] if side != "activations" else []
    named += [_of_activations(subject, block)] if side != "weights" else []
    facts = [fact for fact in named if fact]
    if facts:
        return "; ".join(facts)
    return f"{side}; no channel stands out" if side != "both" else ""


def _side(activations: float, weights: float) -> str:
    if activations > SIDE * weights:
        return "activations"
    return "weights" if weights > SIDE * activations else "both"


def _of_weights(subject: PartialInt8, block: Block) -> str:
    """Returns the layer whose channels are most unlike, where per-tensor weights would suffer, and one weight that
    stands out in its channel."""
    worst, text = STANDS_OUT, ""
    for node in subject.structure.nodes:
        if node.name not in block.learned:
            continue
        name = next((name for name in node.input[:2] if name in subject.structure.constants), None)
        if name is None:
            continue
        values = np.abs(subject.structure.value(name).astype(np.float64))
        rows = values.reshape(len(values), -1)
        reach, usual = rows.max(axis=1), np.median(rows, axis=1) / MEDIAN_OF_NORMAL
        ratio = float(np.max(reach / np.maximum(usual, 1e-12)) / _usual_peak(rows.shape[1]))
        if ratio > worst:
            worst = ratio
            text = f"weights of {node.name}: one weight of a channel is {ratio:.0f} times as far out as is usual"
    return text


def _usual_peak(count: int) -> float:
    """Returns how many standard deviations the largest of so many normal values is out, about."""
    return float(np.sqrt(2 * np.log(max(count, 2))))


def _of_activations(subject: PartialInt8, block: Block) -> str:
    """Returns the tensor that the block makes in which few channels reach far beyond the others, or whose range is far
    beyond that of what the block reads."""
    channels = subject.channel_reach(block)
    worst, text = STANDS_OUT, ""
    for tensor, reach in channels.items():
        usual = float(np.median(reach))
        ratio = float(reach.max()) / max(usual, 1e-12)
        if usual > 0 and ratio > worst:
            worst = ratio
            far = int((reach > STANDS_OUT * usual).sum())
            text = f"activations of {tensor}: {far} of {len(reach)} channels, up to {ratio:.0f} times the usual range"
    return text
