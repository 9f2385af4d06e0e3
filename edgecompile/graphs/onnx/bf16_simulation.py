"""A float graph that rounds to bfloat16 wherever OpenVINO's CPU plugin does, so that any CPU sees what the device will.

A CPU without bfloat16 computes an artifact of that precision in float and says nothing.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper

from edgecompile.graphs.onnx.fp16_simulation import MOVES, SimulationFacts

SIGNIFICANT = frozenset({"Conv", "ConvTranspose", "Gemm", "LSTM", "GRU", "MatMul", "Resize", "RoiAlign"})
"""Operators that end the search for what stays in float: OpenVINO leaves what stands between the last of these and an
output in float (`Graph::EnforceInferencePrecision` of its CPU plugin), which is the decoding of boxes and scores."""
FLOAT, BFLOAT = onnx.TensorProto.FLOAT, onnx.TensorProto.BFLOAT16


def simulate(out: Path, *, model: Path) -> SimulationFacts:
    """Writes `model.onnx`, float, that rounds where a device computes in bfloat16.

    Args:
        model: float ONNX, as passes leave it.
    """
    from edgecompile.graphs.onnx.serialization import load, save

    graph = load(model)
    rounded = round_to_bfloat(graph)
    save(graph, out / "model.onnx")
    return {"rounded": rounded}


def round_to_bfloat(model: onnx.ModelProto) -> int:
    """Rounds, in place, what layers read and put out up to the last of them; returns after how many operators."""
    typed = onnx.shape_inference.infer_shapes(model)
    infos = (*typed.graph.value_info, *typed.graph.output, *typed.graph.input)
    floats = {info.name for info in infos if info.type.tensor_type.elem_type == FLOAT}
    constants = {tensor.name for tensor in model.graph.initializer if tensor.data_type == FLOAT}
    before = _before_the_last(model)
    weights: dict[str, list[onnx.NodeProto]] = {}
    nodes: list[onnx.NodeProto] = []
    rounded = 0
    outputs = {output.name for output in model.graph.output}
    for node in model.graph.node:
        if node.name in before and node.op_type in SIGNIFICANT:
            for position, name in enumerate(node.input):
                if position < 2 and (name in constants or name in {entry.name for entry in model.graph.input}):
                    if name not in weights:
                        weights[name] = _rounding(name, f"{name}_rounded")
                        nodes += weights[name]
                    node.input[position] = f"{name}_rounded"
        nodes.append(node)
        if node.name not in before or node.op_type in MOVES or node.op_type == "Constant":
            continue
        for position, name in enumerate(node.output):
            if name in floats and name not in outputs:
                node.output[position] = f"{name}_exact"
                nodes += _rounding(f"{name}_exact", name)
                rounded += 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    return rounded


def _before_the_last(model: onnx.ModelProto) -> set[str]:
    """Returns the names of the nodes that some significant operator depends on, with those; names all nodes."""
    from edgecompile.graphs.onnx.structure import name_nodes

    name_nodes(model.graph.node)
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    left = [node for node in model.graph.node if node.op_type in SIGNIFICANT]
    while left:
        node = left.pop()
        if node.name not in found:
            found.add(node.name)
            left += [makers[name] for name in node.input if name in makers]
    return found


def _rounding(source: str, name: str) -> list[onnx.NodeProto]:
    short = f"{name}_bfloat"
    return [
        helper.make_node("Cast", [source], [short], name=f"{short}/Cast", to=BFLOAT),
        helper.make_node("Cast", [short], [name], name=f"{name}/Cast", to=FLOAT),
    ]
