"""ONNX to LiteRT's format, and the proof that both compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.errors import StepError
from edgecompile.plan.facts import GraphFacts

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from edgecompile.runtime.spec_document import SpecDocument

ANYTHING_GOES = frozenset({"Constant", "DequantizeLinear", "QuantizeLinear"})
"""Operators that are read without a lowering of their own."""


def compile_litert(out: Path, *, model: Path, spec: Path, half: bool) -> GraphFacts:
    """Writes `model.tflite`, which takes uint8 (1, h, w, channels) in OpenCV's order, and the final `spec.json`.

    A model with Q/DQ pairs becomes one in INT8. What is proven of it is the graph without rounding; what rounding costs
    is judged by its accuracy.

    Args:
        half: whether weights are stored in FP16.

    Raises:
        StepError: LiteRT lacks an operator, or the two disagree.
    """
    import numpy as np

    from edgecompile.graphs.litert import FILE
    from edgecompile.graphs.onnx.agreement import fixed_pictures, require_agreement, run
    from edgecompile.graphs.onnx.embed import BYTE, embed_pictures
    from edgecompile.graphs.onnx.model_spec import embed_preprocessing, read_spec, with_outputs, write_spec
    from edgecompile.graphs.onnx.rounding import without_rounding
    from edgecompile.graphs.onnx.serialization import load, operator_counts, sort_nodes
    from edgecompile.graphs.onnx.structure import name_nodes

    read = read_spec(spec)
    size = read["letterbox"]["size"]
    shape = [max(side, 1) for side in read["input"]["shape"][:2]] + [*size]
    original, graph = load(model), load(model)
    name_nodes(graph.graph.node)
    changes = [embed_pictures(graph)]
    sort_nodes(graph)
    require_operators(graph, read)

    values, pixels = fixed_pictures(shape, size)
    plain = without_rounding(original)
    before = run(plain.SerializeToString(), (values * np.float32(BYTE)).astype(np.float32))
    after = run_litert(lowered(without_rounding(graph), shape, half=False), pixels, read)
    proof = require_agreement(before, after, read, size, "converting the graph to LiteRT")
    (out / FILE).write_bytes(lowered(graph, shape, half=half))

    final = embed_preprocessing(read)
    final["input"]["shape"] = [shape[0], *size, shape[1]]
    write_spec(with_outputs(final, [list(output.shape) for output in after]), out / "spec.json")
    changes.append("ONNX converted to LiteRT, channels last" + (", weights in FP16" if half else ""))
    return {"changes": changes, "max_abs_diff": proof, "operators": operator_counts(graph)}


def lowered(model: onnx.ModelProto, shape: list[int], *, half: bool) -> bytes:
    """Returns the `.tflite` file of an ONNX graph that takes pictures.

    Args:
        shape: of its pictures: number, channels, height, width.
        half: whether weights of layers in float are stored in FP16.
    """
    from edgecompile.graphs.litert.int8_operators import INT8
    from edgecompile.graphs.litert.lowering import Lowering
    from edgecompile.graphs.litert.operators import HANDLERS
    from edgecompile.graphs.onnx.onnx_layers import shapes_of_tensors
    from edgecompile.graphs.onnx.structure import Structure

    count, channels, height, width = shape
    sides = model.graph.input[0].type.tensor_type.shape.dim
    for side, value in zip(sides, (count, height, width, channels), strict=True):
        side.dim_value = value
    structure = Structure(model)
    names = {name for node in structure.nodes for name in node.output if name and name not in structure.constants}
    shapes = shapes_of_tensors(model, {*names, model.graph.input[0].name}, (height, width))
    return Lowering(model, shapes, INT8, half).run(HANDLERS)


def run_litert(content: bytes, pixels: np.ndarray, spec: SpecDocument) -> list[np.ndarray]:
    """Returns the outputs of a `.tflite` file on pictures, on one thread."""
    from edgecompile.graphs.litert import FILE
    from edgecompile.runtime.backends.litert import Backend

    return [output.copy() for output in Backend({FILE: content}, spec, 1, {}).infer(pixels)]


def require_operators(model: onnx.ModelProto, spec: SpecDocument) -> None:
    """Raises:
    StepError: naming the operators of a graph that are not written for LiteRT.
    """
    from edgecompile.graphs.litert.operators import HANDLERS
    from edgecompile.graphs.onnx.model_spec import simpler_head

    absent = sorted({node.op_type for node in model.graph.node} - HANDLERS.keys() - ANYTHING_GOES)
    if absent:
        raise StepError(f"no operators of LiteRT are known for {', '.join(absent)}", fix=simpler_head(spec))
