"""What an ONNX graph consists of, found by its structure and never by names: learned layers, and the decode part."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper

from edgecompile.weights.onnx_header import PAIR, QUANTIZED

LEARNED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that hold learned weights, where one of their inputs is constant."""
LAYOUT = frozenset({"Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that move numbers without changing them."""
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
DISTRIBUTIONS = frozenset({"Exp", "Softmax"})
"""Operators that put out a distribution over bins, or what is proportional to a distribution."""


class Structure:
    """Who makes and who reads each tensor of a graph. The first output of a node identifies it.

    Attributes:
        nodes: the graph's nodes, in its order.
        producer: tensor name -> the node that puts it out.
        consumers: tensor name -> the nodes that read it, in the graph's order.
        constants: names of the tensors whose value is stored: initializers and outputs of `Constant`.
        fixed: those, and what nodes make of them alone: weights behind an `Identity`, a `Cast` or a
            `DequantizeLinear` are such.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.nodes = list(model.graph.node)
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.consumers.setdefault(name, []).append(node)
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.constants = set(self.initializers)
        self.constants |= {node.output[0] for node in self.nodes if node.op_type == "Constant"}
        self.fixed = set(self.constants)
        for node in self.nodes:
            if node.input and self.fixed.issuperset(filter(None, node.input)) and _is_plain(node):
                self.fixed.update(filter(None, node.output))

    def value(self, name: str) -> np.ndarray:
        """Returns the value of a constant tensor."""
        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        attribute = self.producer[name].attribute[0]
        stored = attribute.type == onnx.AttributeProto.TENSOR
        return numpy_helper.to_array(attribute.t) if stored else np.asarray(onnx.helper.get_attribute_value(attribute))

    def inputs(self, node: onnx.NodeProto) -> list[str]:
        """Returns the names of a node's inputs that depend on the picture."""
        return [name for name in node.input if name and name not in self.fixed]

    def stored(self, name: str) -> tuple[str, list[onnx.NodeProto]]:
        """Returns the constant from which a fixed tensor is made, and the nodes between, the last first.

        Where a node takes several constants, its first input is followed: of scaled weights, the weights.
        """
        between = []
        while name not in self.constants:
            between.append(self.producer[name])
            name = between[-1].input[0]
        return name, between

    def is_learned(self, node: onnx.NodeProto) -> bool:
        """Whether a node multiplies activations with learned weights.

        A convolution or product with a constant that directly reads a softmax, or the exponentials of which a softmax
        is made, does not: it takes the mean of a distribution (distribution focal loss,
        https://arxiv.org/abs/2006.04388), with weights 0, 1, 2, ... that nobody learned.
        """
        if node.op_type not in LEARNED or len(self.inputs(node)) != 1:
            return False
        source = self.producer.get(self.inputs(node)[0])
        while source is not None and source.op_type in LAYOUT | PAIR and self.inputs(source):
            source = self.producer.get(self.inputs(source)[0])
        return source is None or source.op_type not in DISTRIBUTIONS

    def decode(self) -> list[onnx.NodeProto]:
        """Returns the nodes after the last learned layers, in the graph's order.

        In a detection model these turn what the last convolutions put out into boxes and scores: the mean of the
        distance distributions, box arithmetic in pixels, sigmoid of the scores, and where it has no need of
        non-maximum suppression, the choice of the best. Pixels and scores meet in one tensor here, so one integer
        scale for both would round every score to zero.
        """
        outputs: set[str] = set()
        frontier = [output.name for output in self.graph.output]
        while frontier:
            node = self.producer.get(frontier.pop())
            if node is None or node.output[0] in outputs or self.is_learned(node):
                continue
            outputs.add(node.output[0])
            if node.op_type != "Shape":  # what reads only the size of a tensor does not compute with it
                frontier.extend(name for name in node.input if name and name not in self.constants)
        return [node for node in self.nodes if node.output[0] in outputs]

    def ends(self) -> list[onnx.NodeProto]:
        """Returns the first and the last learned layers: those that read the picture, and those that the decode part
        reads."""
        entries = {entry.name for entry in self.graph.input}
        read = {name for node in self.decode() for name in node.input} | {entry.name for entry in self.graph.output}
        return [
            node
            for node in self.nodes
            if self.is_learned(node) and (entries & set(node.input) or read & set(node.output))
        ]

    def is_quantized(self) -> bool:
        """Whether the graph computes with integers already."""
        return any(node.op_type in QUANTIZED for node in self.nodes)


def _is_plain(node: onnx.NodeProto) -> bool:
    """Whether equal inputs of a node give equal outputs, and it reads nothing but its inputs."""
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return node.op_type not in RANDOM and not any(attribute.type in graphs for attribute in node.attribute)


def parameter_shares(structure: Structure) -> dict[str, int]:
    """Returns how many learned weights each kind of learned operator holds."""
    shares: dict[str, int] = {}
    for node in structure.nodes:
        if structure.is_learned(node):
            weights, _ = structure.stored(next(name for name in node.input if name in structure.fixed))
            shares[node.op_type] = shares.get(node.op_type, 0) + int(structure.value(weights).size)
    return shares


def name_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    """Gives every nameless node a name of its operator and position, in place, so that patterns can speak of it."""
    taken = set()
    for position, node in enumerate(nodes):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{position}"
        taken.add(node.name)
