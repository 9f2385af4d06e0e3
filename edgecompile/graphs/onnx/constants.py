"""Weights that a graph computes of constants alone become constants, so that whoever looks for weights finds them."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import numpy_helper

from edgecompile.graphs.onnx.structure import LEARNED, Structure

FOLDED = frozenset(
    {
        "Add", "Cast", "Concat", "Constant", "Div", "Flatten", "Gather", "Identity", "Mul", "Neg", "Pow", "Reciprocal",
        "Reshape", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators that are computed beforehand."""
GROWTH = 4
"""How many times the numbers that a model stores, what is computed beforehand may hold."""


def fold_weights(model: onnx.ModelProto) -> int:
    """Makes initializers, in place, of the weights and biases of convolutions and products that stand behind an
    `Identity`, a `Cast`, a scale, in a `Constant`; returns how many."""
    structure = Structure(model)
    foldable = {
        name: makers
        for node in structure.nodes
        if node.op_type in LEARNED
        for name in node.input[1:] or ()
        if name in structure.fixed
        and name not in structure.initializers
        and (makers := _makers(structure, name)) is not None
    }
    if not foldable:
        return 0
    needed = {output for makers in foldable.values() for output in makers}
    nodes = [node for node in structure.nodes if node.output[0] in needed]
    return _fold(model, structure, nodes, sorted(foldable))


def fold_biases(model: onnx.ModelProto) -> int:
    """Makes initializers in float, in place, of INT32 that `DequantizeLinear` reads, as biases of Q/DQ graphs are.

    Returns how many.
    """
    structure = Structure(model)
    readers = [
        node
        for node in structure.nodes
        if node.op_type == "DequantizeLinear"
        and all(_stored(structure, name) for name in node.input)
        and structure.value(node.input[0]).dtype == np.int32
    ]
    if not readers:
        return 0
    read = {name for node in readers for name in node.input}
    constants = [node for node in structure.nodes if node.op_type == "Constant" and node.output[0] in read]
    return _fold(model, structure, [*constants, *readers], sorted(node.output[0] for node in readers))


def _stored(structure: Structure, name: str) -> bool:
    maker = structure.producer.get(name)
    return name in structure.initializers or (maker is not None and maker.op_type == "Constant")


def _fold(model: onnx.ModelProto, structure: Structure, nodes: list[onnx.NodeProto], names: list[str]) -> int:
    """Makes initializers, in place, of tensors that nodes compute, and drops these; returns how many."""
    values = _computed(model, structure, nodes, names)
    for name, value in values.items():
        folded = f"{name}_folded"
        model.graph.initializer.append(numpy_helper.from_array(value, folded))
        for node in structure.consumers[name]:
            node.input[:] = [folded if source == name else source for source in node.input]
    _drop(model, nodes)
    return len(values)


def _makers(structure: Structure, name: str) -> set[str] | None:
    """Returns the first outputs of all nodes that a tensor is made by; None where one of them may not be computed
    beforehand."""
    outputs: set[str] = set()
    frontier = [name]
    while frontier:
        node = structure.producer.get(frontier.pop())
        if node is None or node.output[0] in outputs:
            continue
        if node.op_type not in FOLDED:
            return None
        outputs.add(node.output[0])
        frontier.extend(filter(None, node.input))
    return outputs


def _computed(
    model: onnx.ModelProto, structure: Structure, nodes: list[onnx.NodeProto], names: list[str]
) -> dict[str, np.ndarray]:
    """Returns the values of tensors, of those whose size is known beforehand and within bounds."""
    from edgecompile.graphs.onnx.agreement import single_thread_session

    read = {name for node in nodes for name in node.input}
    tensors = [tensor for name, tensor in structure.initializers.items() if name in read]
    outputs = [onnx.ValueInfoProto(name=name) for name in names]
    graph = onnx.helper.make_graph(nodes, "constants", [], outputs, tensors)
    part = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    typed = onnx.shape_inference.infer_shapes(part, data_prop=True)
    infos = {info.name: info for info in (*typed.graph.value_info, *typed.graph.output)}
    computed = [name for node in nodes for name in node.output if name]
    sizes = {name: _size(infos[name]) if name in infos else math.inf for name in computed}
    stored = sum(math.prod(tensor.dims) for tensor in structure.initializers.values())
    stored += sum(structure.value(node.output[0]).size for node in nodes if node.op_type == "Constant")
    if sum(sizes.values()) > GROWTH * stored + len(computed):
        return {}
    session = single_thread_session(typed.SerializeToString())
    return dict(zip(names, session.run(names, {}), strict=True))


def _size(info: onnx.ValueInfoProto) -> float:
    kind = info.type.tensor_type
    if not kind.HasField("shape") or any(not side.HasField("dim_value") for side in kind.shape.dim):
        return math.inf
    return math.prod(side.dim_value for side in kind.shape.dim)


def _drop(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Removes, in place, those of `nodes` and of the constants they read that nothing else reads; a graph with
    subgraphs, which read what is around them, keeps them all."""
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    if any(attribute.type in graphs for node in model.graph.node for attribute in node.attribute):
        return
    removable = {node.output[0] for node in nodes}
    read = {output.name for output in model.graph.output}
    for node in reversed(list(model.graph.node)):
        if node.output[0] in removable and read.isdisjoint(node.output):
            model.graph.node.remove(node)
        else:
            read.update(node.input)
    unread = {name for node in nodes for name in node.input} - read
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name in unread]:
        model.graph.initializer.remove(tensor)
