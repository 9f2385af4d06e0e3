"""A network of which any part can be put into INT8, and what it then loses of what the float model finds."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecompile.errors import StepError
from edgecompile.evaluate.disagreement import LOWEST
from edgecompile.evaluate.tasks import find_task
from edgecompile.graphs.onnx.blocks import Block, blocks_of, layers_within
from edgecompile.graphs.onnx.onnx_layers import layers as layers_with_weights
from edgecompile.graphs.onnx.serialization import load
from edgecompile.graphs.onnx.structure import Structure, name_nodes
from edgecompile.quantization.gated_graph import GatedGraph
from edgecompile.quantization.qdq import quantize
from edgecompile.runtime.letterbox import Preprocessor
from edgecompile.runtime.pictures import read_picture
from edgecompile.runtime.spec import read_spec
from edgecompile.runtime.tasks import OutputError

if TYPE_CHECKING:
    from edgecompile.quantization.qdq import Placement
    from edgecompile.runtime.geometry import Geometry

PICTURES = 4
"""Of how many pictures results are compared: those with most to lose."""
LOOKED_AT = 16
"""Among how many, the first, these are chosen."""
IMAGE_AXES = 4
"""Axes of a tensor with channels: (n, channels, h, w)."""
NOTHING_LEFT = 2.0
"""Loss of a network that finds nothing: the place and the score of each object."""


@dataclass(frozen=True)
class _Seen:
    """A picture as the network takes it, what the float model finds on it, and how much of that can be lost."""

    path: Path
    tensor: np.ndarray
    geometry: Geometry
    found: Any
    most: float


class PartialInt8:
    """A float network whose layers can each be in INT8.

    Attributes:
        blocks: of the network that hold layers which can be quantized.
        layers: name of a block to its layers, each a `Block` of one layer with weights and of the nodes that follow it.
        pictures: on which results are compared.
        structure: of the float graph.
    """

    def __init__(
        self,
        model: Path,
        spec: Path,
        ranges: Path,
        placement: Placement,
        exclude: str | list[str],
        pictures: Sequence[Path],
    ) -> None:
        """Quantizes the network and opens it with its switches.

        Raises:
            StepError: as `edgecompile.quantization.qdq.quantize`; or the float model finds nothing on the pictures, or
                its task cannot compare two results.
        """
        graph = load(model)
        name_nodes(graph.graph.node)
        self.structure = Structure(graph)
        every = blocks_of(self.structure)
        self.layers = {block.name: layers_within(block) for block in every}
        part_of = {node: layer.name for layers in self.layers.values() for layer in layers for node in layer.nodes}
        with TemporaryDirectory() as folder:
            facts = quantize(Path(folder), model=model, ranges=ranges, placement=placement, exclude=exclude)
            quantized = load(Path(folder) / "model.onnx")
        self._graph = GatedGraph(graph, quantized, part_of, placement, facts["in_float"])
        self.parts = frozenset(self._graph.parts)
        self.blocks = [block for block in every if self.parts_of(block)]
        self._spec = read_spec(spec)
        self._costs = {layer.name: layer.macs for layer in layers_with_weights(graph, self._spec.frame.size)}
        self._task = find_task(self._spec.document["task"])
        self._seen = self._chosen(pictures)
        self._losses: dict[tuple[frozenset[str], frozenset[str]], float] = {}

    @property
    def pictures(self) -> list[Path]:
        return [seen.path for seen in self._seen]

    def parts_of(self, block: Block) -> frozenset[str]:
        """Returns the names of the layers of a block that can be quantized."""
        return frozenset(layer.name for layer in self.layers[block.name]) & self.parts

    def cost(self, layers: Iterable[str]) -> float:
        """Returns the share of all products with weights that layers hold, 0..1."""
        return sum(self._costs.get(layer, 0) for layer in layers) / max(sum(self._costs.values()), 1)

    def loss(self, activations: Collection[str], weights: Collection[str] | None = None) -> float:
        """Returns what is lost where only some layers are in INT8, as a share of what there is to lose.

        Args:
            activations: layers that read and, by most placements, put out numbers of 8 bits.
            weights: layers with weights of 8 bits; None for the same.
        """
        chosen = frozenset(activations), frozenset(activations if weights is None else weights)
        if chosen not in self._losses:
            sums = [self._lost(seen, *chosen) for seen in self._seen]
            self._losses[chosen] = sum(lost for lost, _ in sums) / sum(most for _, most in sums)
        return self._losses[chosen]

    def channel_reach(self, block: Block) -> dict[str, np.ndarray]:
        """Returns for each tensor (n, channels, h, w) that the layers of a block put out, by the node's name, the
        largest absolute value of each channel on the first picture, (channels,)."""
        nodes = [node for node in self.structure.nodes if node.name in block.nodes and node.output]
        found = self._graph.tensors(self._seen[0].tensor, [node.output[0] for node in nodes])
        return {
            node.name: np.abs(values).max(axis=(0, *range(2, values.ndim)))
            for node in nodes
            if (values := found.get(node.output[0])) is not None and values.ndim == IMAGE_AXES
        }

    def _lost(self, seen: _Seen, activations: frozenset[str], weights: frozenset[str]) -> tuple[float, float]:
        outputs = self._graph.run(seen.tensor, activations, weights)
        try:
            found = self._decoded(outputs, seen.geometry)
        except OutputError:  # numbers that mean nothing
            return NOTHING_LEFT * seen.most, seen.most
        lost = self._task.disagreement(seen.found, found)
        assert lost is not None, "the task compared the float model with itself"
        return lost

    def _decoded(self, outputs: Sequence[np.ndarray], geometry: Geometry) -> Any:
        task = self._spec.task
        names = [output.name for output in self.structure.graph.output]
        lowest = {"conf": LOWEST} if any(setting.name == "conf" for setting in task.settings) else {}
        return task.decode([outputs[names.index(name)] for name in task.outputs], geometry, 0, lowest)

    def _chosen(self, pictures: Sequence[Path]) -> list[_Seen]:
        """Returns the pictures on which the float model finds most."""
        batch = self._spec.input.batches[0]
        looked: list[tuple[float, int, _Seen]] = []
        for number, path in enumerate(pictures[:LOOKED_AT]):
            preprocessor = Preprocessor(self._spec, batch)
            image = read_picture(path, self._spec.input.channels)
            geometry, *_ = [preprocessor.place(slot, image) for slot in range(batch)]
            tensor = preprocessor.tensor
            found = self._decoded(self._graph.run(tensor, ()), geometry)
            apart = self._task.disagreement(found, found)
            if apart is None:
                raise StepError(f"the task '{self._spec.document['task']}' cannot tell how far two results are apart")
            looked.append((-apart[1], number, _Seen(path, tensor, geometry, found, apart[1])))
        best = sorted(looked, key=lambda one: one[:2])[:PICTURES]
        if not best or not math.fsum(one[0] for one in best):
            raise StepError(f"the float model finds nothing on the first {len(looked)} calibration pictures")
        return [seen for *_, seen in best]
