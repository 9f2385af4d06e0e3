"""The layers with weights of an OpenVINO IR, read from its XML alone: the precision and the products of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree

from edgecompile.evaluate.layer_coverage import Layer

UNPACKS = frozenset({"Convert", "FakeQuantize", "Multiply", "Reshape", "Subtract", "Transpose"})
"""Operations that stand between stored weights and the layer that uses them."""
MOVES = frozenset(
    {
        "Convert", "FakeQuantize", "Reshape", "Slice", "Split", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze",
        "VariadicSplit",
    }
)  # fmt: skip
"""Operations through which a distribution reaches the layer that takes its mean."""
PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8", "i4": "int4", "u4": "int4"}
DEPTH = {
    "Convolution": 1,
    "GroupConvolution": 2,
    "ConvolutionBackpropData": 1,
    "GroupConvolutionBackpropData": 2,
}
"""How many axes of the weights of a convolution stand before those over which it sums."""


@dataclass(frozen=True)
class Network:
    """Operations of an IR by their numbers, and what feeds each of their ports."""

    operations: dict[str, ElementTree.Element]
    feeds: dict[tuple[str, str], str]

    @classmethod
    def read(cls, content: bytes) -> Network:
        """Returns the network of a model.xml."""
        root = ElementTree.fromstring(content)
        edges = root.iterfind("./edges/edge")
        return cls(
            {str(layer.get("id")): layer for layer in root.iterfind("./layers/layer")},
            {(str(e.get("to-layer")), str(e.get("to-port"))): str(e.get("from-layer")) for e in edges},
        )

    def source(self, number: str, port: str, through: frozenset[str]) -> str | None:
        """Returns the number of what feeds a port, behind operations of the types `through`."""
        source = self.feeds.get((number, port))
        while source is not None and self.operations[source].get("type") in through:
            source = self.feeds.get((source, "0"))
        return source

    def kind(self, number: str | None) -> str | None:
        return None if number is None else self.operations[number].get("type")


def layers(content: bytes) -> list[Layer]:
    """Returns the layers with weights of a model.xml, in its order. An axis of open size counts once."""
    network = Network.read(content)
    layers_with_weights = []
    for number, operation in network.operations.items():
        if operation.get("type") not in {*DEPTH, "MatMul"}:
            continue
        sources = {port: network.source(number, port, UNPACKS) for port in ("0", "1")}
        port = next((port for port in ("1", "0") if network.kind(sources[port]) == "Const"), None)
        activation = network.source(number, "0" if port == "1" else "1", MOVES)
        if port is None or network.kind(activation) in (None, "Const", "SoftMax"):
            continue
        precision = precision_of(network.operations[str(sources[port])])
        layers_with_weights.append(Layer(str(operation.get("name")), precision, _macs(operation)))
    return layers_with_weights


def precision_of(constant: ElementTree.Element) -> str:
    """Returns the precision in which a constant is stored."""
    data = constant.find("data")
    kind = data.get("element_type", "unknown") if data is not None else "unknown"
    return PRECISIONS.get(kind, kind)


def _macs(operation: ElementTree.Element) -> int:
    """Returns how many products an operation adds."""
    kind = str(operation.get("type"))
    first, second = (_sides(port) for port in operation.iterfind("./input/port"))
    result = _sides(next(operation.iterfind("./output/port")))
    if kind == "MatMul":
        data = operation.find("data")
        swapped = data is not None and data.get("transpose_a") in ("true", "1")
        return math.prod(result) * first[-2 if swapped and len(first) > 1 else -1]
    counted = first if "Backprop" in kind else result
    return math.prod(counted) * math.prod(second[DEPTH[kind] :])


def _sides(port: ElementTree.Element) -> list[int]:
    return [max(int(side.text or 1), 1) for side in port.iterfind("dim")]
