"""IR for OpenVINO 2022.3, the last that runs on the Neural Compute Stick 2 (device MYRIAD): operations of its time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgecompile.plan.facts import GraphFacts
from edgecompile.runtime.spec_document import SpecDocument

NEWEST_OPSET = 9
"""Newest operation set that OpenVINO 2022.3 reads."""

MYRIAD = frozenset(
    {
        "Abs", "Add", "AvgPool", "Ceiling", "Clamp", "Concat", "Constant", "Convert", "Convolution",
        "ConvolutionBackpropData", "Divide", "Elu", "Erf", "Exp", "Floor", "Gather", "GatherElements", "GatherND",
        "Gelu", "GroupConvolution", "GroupConvolutionBackpropData", "HSwish", "Interpolate", "Log", "MVN", "MatMul",
        "MaxPool", "Maximum", "Minimum", "Mish", "Multiply", "NormalizeL2", "PRelu", "Pad", "Parameter", "Power",
        "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Result", "Round", "Sigmoid",
        "SoftPlus", "Softmax", "Split", "Squeeze", "StridedSlice", "Subtract", "Swish", "Tanh", "Tile", "TopK",
        "Transpose", "Unsqueeze", "VariadicSplit",
    }
)  # fmt: skip
"""Operations that the MYRIAD plugin has a stage for, or that it turns into such operations. Read in its source,
openvinotoolkit/openvino, src/plugins/intel_myriad/graph_transformer/src/frontend/frontend.cpp, before it was removed.
"""


def compile_legacy(out: Path, *, model: Path, spec: Path) -> GraphFacts:
    """Writes `model.xml` and `model.bin` that OpenVINO 2022.3 reads, weights in FP16, and their `spec.json`.

    Args:
        model: folder of an IR of static shapes.

    Raises:
        StepError: an operation has no form in OpenVINO 2022.3 or none on the stick; the outputs change.
    """
    import shutil

    import numpy as np

    from edgecompile.graphs.openvino import import_openvino

    openvino = import_openvino()

    from edgecompile.graphs.onnx.agreement import fixed_input, require_agreement
    from edgecompile.graphs.onnx.model_spec import read_spec
    from edgecompile.graphs.openvino.canonical_names import XML, save

    read = read_spec(spec)
    size = read["letterbox"]["size"]
    count, channels = read["input"]["shape"][0], read["input"]["shape"][3]
    pixels = np.round(fixed_input([count, channels, *size], size).transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    pixels = np.ascontiguousarray(pixels)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}

    def infer(graph: Any) -> list[Any]:
        outputs = openvino.Core().compile_model(graph, "CPU", settings)(pixels)
        return [output.copy() for output in outputs.values()]

    graph = openvino.Core().read_model(model / XML)
    before = infer(graph)
    counts = lower(graph)
    require_reach(graph, read)
    proof = require_agreement(before, infer(graph), read, size, "writing the graph for OpenVINO 2022.3")
    save(graph, out, half=True)
    shutil.copyfile(spec, out / "spec.json")
    changes = [f"{number} {kind} written in the form of OpenVINO 2022.3" for kind, number in counts.items()]
    return {"changes": changes, "max_abs_diff": proof}


def lower(graph: Any) -> dict[str, int]:
    """Replaces operations, in place, by those that OpenVINO 2022.3 and the stick know; returns how many of each."""
    counts: dict[str, int] = {}
    for operation in graph.get_ordered_ops():
        kind = operation.get_type_name()
        older = FORMS[kind](operation) if kind in FORMS else None
        if older is None:
            continue
        older.set_friendly_name(operation.get_friendly_name())
        names = operation.output(0).get_names()
        operation.output(0).replace(older.output(0))
        older.output(0).set_names(names)
        counts[kind] = counts.get(kind, 0) + 1
    graph.validate_nodes_and_infer_types()
    return dict(sorted(counts.items()))


def require_reach(graph: Any, spec: SpecDocument) -> None:
    """Raises:
    StepError: naming all operations that OpenVINO 2022.3 or the stick does not have.
    """
    from edgecompile.errors import StepError
    from edgecompile.graphs.onnx.model_spec import simpler_head

    beyond = set()
    for operation in graph.get_ordered_ops():
        kind, opset = operation.get_type_name(), operation.get_type_info().version_id
        if kind not in MYRIAD or int(opset.removeprefix("opset")) > NEWEST_OPSET:
            beyond.add(f"{kind} ({opset})")
    if beyond:
        lacks = ", ".join(sorted(beyond))
        raise StepError(f"the Neural Compute Stick 2 does not run {lacks}", fix=simpler_head(spec))


def _interpolate(operation: Any) -> Any | None:
    """Interpolate of opset 4 takes both sizes and scales; of opset 11 one of the two."""
    import numpy as np
    from openvino import opset10  # its function makes the Interpolate of opset 4; that of `opset4` makes opset 1's

    if operation.get_type_info().version_id != "opset11":
        return None
    source, output = operation.input_value(0), operation.output(0)
    attributes = operation.get_attributes()
    before, after = (np.array(list(port.shape), np.int64) for port in (source, output))
    axes = [axis for axis in range(len(before)) if before[axis] != after[axis]]
    scales = (after[axes] / before[axes]).astype(np.float32)
    return opset10.interpolate(
        source,
        opset10.constant(after[axes]),
        opset10.constant(scales),
        attributes["mode"],
        attributes["shape_calculation_mode"],
        axes=opset10.constant(np.array(axes, np.int64)),
        coordinate_transformation_mode=attributes["coordinate_transformation_mode"],
        nearest_mode=attributes["nearest_mode"],
        antialias=attributes["antialias"],
        cube_coeff=attributes["cube_coeff"],
    )


def _max_pool(operation: Any) -> Any | None:
    """MaxPool of opset 1 gives no indices and knows no dilation."""
    from openvino import opset1

    source, attributes = operation.input_value(0), operation.get_attributes()
    dilated = any(step != 1 for step in attributes.get("dilations", ()))
    indices = operation.get_output_size() > 1 and bool(operation.output(1).get_target_inputs())
    if operation.get_type_info().version_id == "opset1" or dilated or indices or "torch" in attributes["rounding_type"]:
        return None
    names = ("strides", "pads_begin", "pads_end")
    values = [list(attributes[name]) for name in names]
    return opset1.max_pool(
        source, *values, list(attributes["kernel"]), attributes["rounding_type"], attributes["auto_pad"]
    )


def _slice(operation: Any) -> Any | None:
    """Slice became StridedSlice, which has a place for each axis."""
    import numpy as np
    from openvino import opset1

    source = operation.input_value(0)
    bounds = [port.get_node() for port in operation.input_values()[1:]]
    if any(node.get_type_name() != "Constant" for node in bounds):
        return None
    start, stop, step, axes = (np.asarray(node.data).astype(np.int64) for node in _with_axes(bounds))
    rank = len(source.shape)
    begin, end, strides = np.zeros(rank, np.int64), np.zeros(rank, np.int64), np.ones(rank, np.int64)
    free = np.ones(rank, np.int64)  # 1: the whole axis
    begin[axes], end[axes], strides[axes], free[axes] = start, stop, step, 0
    constants = [opset1.constant(value) for value in (begin, end, strides)]
    return opset1.strided_slice(source, *constants, free.tolist(), free.tolist())


def _with_axes(bounds: list[Any]) -> list[Any]:
    """Returns start, stop, step and axes; without axes a slice means the first axes."""
    import numpy as np
    from openvino import opset1

    return bounds if len(bounds) == 4 else [*bounds, opset1.constant(np.arange(len(bounds[0].data)))]


def _softmax(operation: Any) -> Any | None:
    """Softmax of opset 1 counts axes from the front."""
    from openvino import opset1

    if operation.get_type_info().version_id == "opset1":
        return None
    axis = operation.get_attributes()["axis"]
    return opset1.softmax(operation.input_value(0), axis % len(operation.output(0).shape))


FORMS: dict[str, Callable[[Any], Any | None]] = {
    "Interpolate": _interpolate,
    "MaxPool": _max_pool,
    "Slice": _slice,
    "Softmax": _softmax,
}
