"""Static INT8 for ONNX runtimes: ranges from calibration become QuantizeLinear/DequantizeLinear pairs (Q/DQ).

Where the pairs stand and what numbers they use is the placement profile of a target, see `Placement`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from edgecompile.plan.facts import CalibrationFacts, GraphFacts

INPUT_RANGE = (0.0, 1.0)
"""Range of a scaled picture. It is known, not measured: with it, one step of the input scale is one step of a byte."""


class Extras(TypedDict, total=False):
    """What only some runtimes want; see `Placement`."""

    inputs_only: bool
    learned_only: bool
    ends_in_float: bool
    others_in_float: bool


class Placement(Extras):
    """What a runtime wants of a quantized graph; plain JSON, a parameter of the step.

    activations: "uint8" or "int8".
    symmetric: whether activations have zero point 0 (of int8), the same scale to either side.
    per_channel: whether each output channel of a weight has a scale of its own.
    reduce_range: whether weights get 7 bits, so that AVX2/AVX512 without VNNI cannot overflow 16 bits.
    quantize_bias: whether biases become int32.
    pair_on_weights: whether weights stay float before a Q/DQ pair, as training-aware tools write them.
    dedicated_pairs: whether every reader of a tensor has a Q/DQ pair of its own.
    operators: operators to quantize.
    inputs_only: whether pairs stand before operators only, so that what follows a convolution is fused with it in
        float. Absent: no, the output of each operator has a pair as well.
    learned_only: whether operators are quantized only where they hold learned weights, so that attention, a product of
        two activations, stays in float. Absent: no.
    ends_in_float: whether "auto" leaves the first and the last learned layers in float too. Absent: no. A signed,
        symmetric scale has 127 steps for the 255 of a picture, and the last layers put out what is decoded.
    others_in_float: whether operators that are not quantized read a tensor as it was before the pair of a
        quantized operator. Absent: no, they read it after the pair.
    """

    activations: str
    symmetric: bool
    per_channel: bool
    reduce_range: bool
    quantize_bias: bool
    pair_on_weights: bool
    dedicated_pairs: bool
    operators: list[str]


def calibrate(
    out: Path, *, model: Path, spec: Path, pictures: list[Path], method: str, percentile: float
) -> CalibrationFacts:
    """Writes `ranges.json`: the lowest and highest value of every float activation over the calibration pictures.

    Raises:
        StepError: the model is in FP16.
    """
    import onnx

    from edgecompile.errors import StepError
    from edgecompile.graphs.onnx.serialization import load
    from edgecompile.quantization.calibration import measure_ranges
    from edgecompile.quantization.calibration_batches import input_reader

    graph = load(model)
    if halves := [tensor.name for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16]:
        message = f"the model is in FP16 already ({len(halves)} of its weights), INT8 is made of a float model"
        raise StepError(message, fix="import the float32 export")
    read = input_reader(spec)
    ranges = measure_ranges(graph, lambda: map(read, pictures), method=method, percentile=percentile)
    text = json.dumps({name: list(limits) for name, limits in sorted(ranges.items())}, indent=0)
    (out / "ranges.json").write_text(text + "\n", encoding="utf-8")
    return {"pictures": len(pictures), "tensors": len(ranges), "method": method}


def quantize(
    out: Path,
    *,
    model: Path,
    ranges: Path,
    placement: Placement,
    exclude: str | list[str],
    keep_float: Sequence[str] = (),
) -> GraphFacts:
    """Writes the quantized `model.onnx`.

    Raises:
        StepError: when an entry of `exclude` or `keep_float` matches no node, or the model is quantized already.
    """
    import numpy as np
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    from edgecompile.errors import StepError
    from edgecompile.graphs.onnx.onnx_layers import precisions
    from edgecompile.graphs.onnx.serialization import load, operator_counts, save, sort_nodes
    from edgecompile.graphs.onnx.structure import Structure, name_nodes
    from edgecompile.quantization.exclusion import excluded, kept_in_float

    graph = onnx.shape_inference.infer_shapes(load(model))
    name_nodes(graph.graph.node)
    structure = Structure(graph)
    if structure.is_quantized():
        raise StepError("the model is quantized already")

    def unfit() -> list[str]:
        ends = structure.ends() if placement.get("ends_in_float") else []
        return [node.name for node in (*structure.decode(), *ends)]

    names = [node.name for node in structure.nodes]
    left_out = sorted({*excluded(exclude, names, unfit), *kept_in_float(keep_float, names)})
    if placement.get("learned_only"):
        candidates = (node for node in structure.nodes if node.op_type in placement["operators"])
        left_out = sorted({*left_out, *(node.name for node in candidates if not structure.is_learned(node))})
    measured = {name: tuple(limits) for name, limits in json.loads(ranges.read_text(encoding="utf-8")).items()}
    measured[graph.graph.input[0].name] = INPUT_RANGE
    for name in structure.constants - set(structure.initializers) - set(measured):
        if (value := structure.value(name)).dtype == np.float32 and value.size:
            measured[name] = (float(value.min()), float(value.max()))

    float_outputs = placement["operators"] if placement.get("inputs_only") else []
    quantizer = QDQQuantizer(
        graph,
        per_channel=placement["per_channel"],
        reduce_range=placement["reduce_range"],
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8 if placement["activations"] == "uint8" else QuantType.QInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {name: (np.float32(low), np.float32(high)) for name, (low, high) in measured.items()},
        ),
        nodes_to_quantize=[],
        nodes_to_exclude=left_out,
        op_types_to_quantize=placement["operators"],
        extra_options={
            "ActivationSymmetric": placement["symmetric"],
            "QuantizeBias": placement["quantize_bias"],
            "AddQDQPairToWeight": placement["pair_on_weights"],
            "DedicatedQDQPair": placement["dedicated_pairs"],
            "OpTypesToExcludeOutputQuantization": float_outputs,
            # a ReLU that only the pair behind it stands for would be lost where the pair is left out
            "QDQKeepRemovableActivations": True,
        },
    )
    quantizer.quantize_model()
    if placement.get("others_in_float"):
        _free_others(quantizer.model.model, placement["operators"])
    quantized = sort_nodes(quantizer.model.model)
    save(quantized, out / "model.onnx")
    counts = operator_counts(quantized)
    layers = list(precisions(Structure(quantized)).values())
    return {
        "changes": [
            f"{layers.count('int8')} of {len(layers)} learned layers in INT8",
            f"{len(left_out)} of {len(structure.nodes)} nodes left in float",
        ],
        "in_float": left_out,
        "operators": counts,
    }


def _free_others(model: Any, operators: list[str]) -> None:
    """Lets every node that is not among `operators` read the float tensor before a pair, in place; drops pairs that
    nobody reads then."""
    from edgecompile.graphs.onnx.dfl import drop_unread
    from edgecompile.graphs.onnx.serialization import sort_nodes
    from edgecompile.graphs.onnx.structure import Structure

    structure = Structure(model)
    for node in structure.nodes:
        if node.op_type in operators or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for position, name in enumerate(node.input):
            dequantize = structure.producer.get(name)
            quantize = structure.producer.get(dequantize.input[0]) if dequantize is not None else None
            if dequantize is not None and dequantize.op_type == "DequantizeLinear" and quantize is not None:
                node.input[position] = quantize.input[0]
    drop_unread(sort_nodes(model))
