"""What a sensitivity analysis found: `sensitivity.json`. Plain data, read by reports and by the search for a repair."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from edgecompile.json_types import JsonObject

FILE = "sensitivity.json"


@dataclass(frozen=True)
class LayerLoss:
    """A layer with weights, with what follows it up to the next, alone in INT8.

    Attributes:
        name: of its node in the ONNX graph.
        loss: of what the float model finds, see `edgecompile.evaluate.disagreement`; a share of it.
        activations, weights: the loss where only these are in INT8; None where they were not taken apart.
        cost: its share of all products with weights, 0..1.
    """

    name: str
    loss: float
    cost: float
    activations: float | None = None
    weights: float | None = None


@dataclass(frozen=True)
class BlockLoss:
    """A block alone in INT8: attributes as `LayerLoss`.

    Attributes:
        cause: what makes it lose, for people; "" where nothing stands out.
        layers: names of its layers with weights.
        detail: the loss of each of them; empty where they were not ranked.
    """

    name: str
    loss: float
    cost: float
    layers: tuple[str, ...]
    activations: float | None = None
    weights: float | None = None
    cause: str = ""
    detail: tuple[LayerLoss, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """A mix of INT8 and float that was simulated.

    Attributes:
        in_float: names of nodes of the ONNX graph that stay in float, in its order.
        keep_float: the same, whole blocks by their names.
        blocks: names of the blocks that they are of.
        loss: that is left, simulated.
        cost: share of all products with weights that are in float.
    """

    in_float: tuple[str, ...]
    keep_float: tuple[str, ...]
    blocks: tuple[str, ...]
    loss: float
    cost: float


@dataclass(frozen=True)
class Sensitivity:
    """The whole analysis.

    Attributes:
        loss: of the whole network in INT8.
        pictures: by which it was ranked.
        blocks: in the order of the graph.
        proposals: mixes with ever less loss and ever more cost.
    """

    loss: float
    pictures: tuple[str, ...]
    blocks: tuple[BlockLoss, ...]
    proposals: tuple[Proposal, ...] = ()

    def worst(self) -> list[BlockLoss]:
        """Returns the blocks by their loss, the largest first."""
        return sorted(self.blocks, key=lambda block: -block.loss)


def write_sensitivity(folder: Path, sensitivity: Sensitivity) -> None:
    """Writes the file into the folder of a step."""
    (folder / FILE).write_text(json.dumps(asdict(sensitivity), indent=1) + "\n", encoding="utf-8")


def read_sensitivity(path: Path) -> Sensitivity:
    """Reads what `write_sensitivity` wrote."""
    plain = json.loads(path.read_text(encoding="utf-8"))
    blocks = [
        BlockLoss(**{**block, "layers": tuple(block["layers"]), "detail": _layers(block["detail"])})
        for block in plain["blocks"]
    ]
    proposals = [
        Proposal(**{**one, **{name: tuple(one[name]) for name in ("in_float", "keep_float", "blocks")}})
        for one in plain["proposals"]
    ]
    return Sensitivity(plain["loss"], tuple(plain["pictures"]), tuple(blocks), tuple(proposals))


def _layers(plain: Iterable[object]) -> tuple[LayerLoss, ...]:
    return tuple(LayerLoss(**cast("dict[str, float]", layer)) for layer in plain)  # type: ignore[arg-type]


def as_document(sensitivity: Sensitivity) -> JsonObject:
    """Returns it as plain JSON."""
    return cast("JsonObject", json.loads(json.dumps(asdict(sensitivity))))
