"""The learned layers and the decode part of an OpenVINO model, found by structure as in `edgecompile.graphs.onnx`."""

from __future__ import annotations

from typing import Any

LEARNED = frozenset(
    {
        "Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData", "MatMul",
    }
)  # fmt: skip
LAYOUT = frozenset({"Reshape", "Slice", "Split", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze", "VariadicSplit"})


def sources(node: Any) -> list[Any]:
    """Returns the nodes that a node reads, constants and what follows from them left out."""
    return [value.get_node() for value in node.input_values() if not _is_constant(value.get_node())]


def _is_constant(node: Any) -> bool:
    if node.get_type_name() == "Constant":
        return True
    return node.get_input_size() > 0 and all(_is_constant(value.get_node()) for value in node.input_values())


def is_learned(node: Any) -> bool:
    """Whether a node multiplies activations with learned weights, and not a softmax with fixed weights."""
    read = sources(node)
    if node.get_type_name() not in LEARNED or len(read) != 1:
        return False
    source = read[0]
    while source.get_type_name() in LAYOUT and sources(source):
        source = sources(source)[0]
    return source.get_type_name() != "Softmax"


def is_bias(node: Any) -> bool:
    """Whether a node adds constants to what a learned layer puts out: part of that layer."""
    read = sources(node)
    return node.get_type_name() == "Add" and len(read) == 1 and is_learned(read[0])


def decode(model: Any) -> list[str]:
    """Returns the names of the operations after the last learned layers and their biases, sorted."""
    names: set[str] = set()
    frontier = [result.input_value(0).get_node() for result in model.get_results()]
    while frontier:
        node = frontier.pop()
        name = node.get_friendly_name()
        if name in names or node.get_type_name() == "Parameter" or is_learned(node) or is_bias(node):
            continue
        names.add(name)
        frontier.extend(sources(node))
    return sorted(names)
