"""Step: which parts of a network lose what it finds when they are quantized, why, and which mixes would lose less.

Each part alone is put into INT8 while all others stay in float, on a few calibration pictures, and what is found is
compared with what the float model finds. No label is read. The quantizers are those of the target's own placement.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from edgecompile.quantization.sensitivity_document import BlockLoss, LayerLoss, Sensitivity, write_sensitivity

if TYPE_CHECKING:
    from edgecompile.graphs.onnx.blocks import Block
    from edgecompile.quantization.partial_int8 import PartialInt8
    from edgecompile.quantization.qdq import Placement

LAYERS_OF = 3
"""Of how many blocks, the worst, activations and weights are told apart where no layer is ranked."""
SHOWN = 3
DIGITS = 6


class SensitivityFacts(TypedDict):
    """What the step returns.

    loss: of the whole network in INT8.
    pictures: by which it was ranked.
    changes: the worst blocks, for people.
    """

    loss: float
    pictures: list[str]
    changes: list[str]


def rank(
    out: Path,
    *,
    model: Path,
    spec: Path,
    pictures: list[Path],
    ranges: Path,
    placement: Placement,
    exclude: str | list[str],
    every_layer: bool,
) -> SensitivityFacts:
    """Writes `sensitivity.json`, see `edgecompile.quantization.sensitivity_document`.

    Args:
        model: the float graph that is quantized.
        pictures: calibration pictures; the first are looked at.
        ranges: `ranges.json` of `edgecompile.quantization.qdq.calibrate`.
        placement: of the target, or one near to what its own quantizer does.
        exclude: as for `edgecompile.quantization.qdq.quantize`.
        every_layer: whether each layer is ranked too; else blocks are, and mixes proposed.

    Raises:
        StepError: the task cannot compare two results, or the float model finds nothing on these pictures.
    """
    from edgecompile.quantization.float_blocks import propose
    from edgecompile.quantization.partial_int8 import PartialInt8

    subject = PartialInt8(model, spec, ranges, placement, exclude, pictures)
    whole = subject.loss(subject.parts)
    losses = {block.name: subject.loss(subject.parts_of(block)) for block in subject.blocks}
    worst = sorted(losses, key=lambda name: -losses[name])
    apart = set(worst if every_layer else worst[:LAYERS_OF])
    found = Sensitivity(
        loss=round(whole, DIGITS),
        pictures=tuple(path.name for path in subject.pictures),
        blocks=tuple(_block_loss(subject, block, block.name in apart, every_layer) for block in subject.blocks),
        proposals=() if every_layer else tuple(propose(subject, losses)),
    )
    write_sensitivity(out, found)
    return {
        "loss": found.loss,
        "pictures": list(found.pictures),
        "changes": [_line(block) for block in found.worst()[:SHOWN]],
    }


def _block_loss(subject: PartialInt8, block: Block, apart: bool, every_layer: bool) -> BlockLoss:
    from edgecompile.quantization.sensitivity_cause import cause_of

    parts = subject.parts_of(block)
    activations, weights = _apart(subject, parts) if apart else (None, None)
    layers = [layer.name for layer in subject.layers[block.name] if layer.name in parts]
    return BlockLoss(
        name=block.name,
        loss=round(subject.loss(parts), DIGITS),
        cost=round(subject.cost(layers), DIGITS),
        layers=tuple(layers),
        activations=activations,
        weights=weights,
        cause=cause_of(subject, block, activations, weights) if apart else "",
        detail=tuple(_layer_loss(subject, layer) for layer in layers) if every_layer else (),
    )


def _layer_loss(subject: PartialInt8, layer: str) -> LayerLoss:
    activations, weights = _apart(subject, frozenset({layer}))
    return LayerLoss(
        layer, round(subject.loss({layer}), DIGITS), round(subject.cost([layer]), DIGITS), activations, weights
    )


def _apart(subject: PartialInt8, parts: frozenset[str]) -> tuple[float, float]:
    """Returns the loss by activations alone and that by weights alone."""
    return round(subject.loss(parts, ()), DIGITS), round(subject.loss((), parts), DIGITS)


def _line(block: BlockLoss) -> str:
    cause = f": {block.cause}" if block.cause else ""
    return f"{block.name} alone in INT8 loses {block.loss:.4f}{cause}"
