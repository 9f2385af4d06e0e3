"""A float graph that rounds to FP16 wherever a device computes in FP16, so that a CPU sees what the device will.

ONNX Runtime's CPU computes an FP16 graph in float, and so sees neither infinity beyond 65504 nor zero below 6e-08.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import numpy as np
import onnx
from onnx import helper, numpy_helper

MOVES = frozenset(
    {
        "Concat", "Flatten", "Gather", "Identity", "MaxPool", "Relu", "Reshape", "Slice", "Split", "Squeeze",
        "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators that put out only numbers that they read: where those are rounded, these are."""
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


class SimulationFacts(TypedDict):
    """What the step returns: after how many operators it rounds."""

    rounded: int


def simulate(out: Path, *, artifact: Path, everything: bool) -> SimulationFacts:
    """Writes `model.onnx`, float, that computes what the model of an artifact does in FP16, and the files beside it.

    Args:
        artifact: folder with an ONNX file.
        everything: whether the device computes in FP16 what the graph leaves in float too.
    """
    from edgecompile.graphs.onnx.serialization import load, save
    from edgecompile.runtime.backends import choose_file

    name = choose_file(artifact, ".onnx")
    model = load(artifact / name)
    rounded = round_to_half(model, everything=everything)
    save(model, out / "model.onnx")
    for path in artifact.glob("*.cfg"):
        shutil.copyfile(path, out / path.name)
    return {"rounded": rounded}


def round_to_half(model: onnx.ModelProto, *, everything: bool) -> int:
    """Makes a float graph, in place, of a graph in FP16 or partly so; returns after how many operators it rounds."""
    typed = onnx.shape_inference.infer_shapes(model)
    infos = (*typed.graph.value_info, *typed.graph.output)
    kinds = {info.name: info.type.tensor_type.elem_type for info in infos}
    rounded_kinds = {HALF, FLOAT} if everything else {HALF}
    for tensor in _constants(model):
        if tensor.data_type in rounded_kinds:
            value = numpy_helper.to_array(tensor)
            with np.errstate(over="ignore"):
                tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16).astype(np.float32), tensor.name))
    nodes: list[onnx.NodeProto] = []
    rounded = 0
    outputs = {output.name for output in model.graph.output}
    for node in model.graph.node:
        nodes.append(node)
        for attribute in node.attribute if node.op_type == "Cast" else ():
            if attribute.name == "to" and attribute.i == HALF:
                attribute.i = FLOAT
        if node.op_type in MOVES or node.op_type == "Constant":
            continue
        for position, name in enumerate(node.output):
            if kinds.get(name) in rounded_kinds and name not in outputs:
                node.output[position] = f"{name}_exact"
                nodes += _rounding(f"{name}_exact", name)
                rounded += 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    for info in (*model.graph.input, *model.graph.output):
        if info.type.tensor_type.elem_type == HALF:
            info.type.tensor_type.elem_type = FLOAT
    return rounded


def _constants(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t


def _rounding(source: str, name: str) -> list[onnx.NodeProto]:
    half = f"{name}_half"
    return [
        helper.make_node("Cast", [source], [half], name=f"{half}/Cast", to=HALF),
        helper.make_node("Cast", [half], [name], name=f"{name}/Cast", to=FLOAT),
    ]
