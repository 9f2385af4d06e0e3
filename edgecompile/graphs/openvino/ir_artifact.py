"""The last step for OpenVINO: narrow shapes, preprocessing built in, forms that its CPU kernels run fastest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecompile.plan.facts import GraphFacts


def compile_ir(
    out: Path, *, model: Path, spec: Path, half: bool, separate_silu: bool, brain: bool = False
) -> GraphFacts:
    """Writes `model.xml`, `model.bin` and the final `spec.json`.

    Args:
        model: an ONNX file, or a folder with an IR.
        half: whether weights are stored as FP16.
        brain: whether weights are stored as bfloat16.
        separate_silu: whether SiLU is kept from being fused into INT8 convolutions, see `separate_silus`.

    Raises:
        StepError: the compiled model disagrees with the model before it.
    """
    from edgecompile.graphs.openvino import import_openvino

    openvino = import_openvino()

    import numpy as np

    from edgecompile.graphs.onnx.agreement import fixed_pictures, largest, require_agreement
    from edgecompile.graphs.onnx.model_spec import embed_preprocessing, read_spec, shapes_of, with_outputs, write_spec
    from edgecompile.graphs.openvino.canonical_names import XML, save
    from edgecompile.graphs.openvino.conversion import from_onnx

    read = read_spec(spec)
    files = {path.name for path in model.iterdir()} if model.is_dir() else set()
    graph = openvino.Core().read_model(model / XML) if XML in files else from_onnx(model)
    shapes = shapes_of(read)
    graph.reshape(_bounds(openvino, shapes))
    inputs = [fixed_pictures(shape, shape[2:]) for shape in shapes]
    before = _float_outputs(graph, [(values / np.float32(255)).astype(np.float32) for values, _ in inputs])
    changes = []
    if separate_silu:
        changes.append(f"{separate_silus(graph)} SiLU activations kept apart from INT8 convolutions")
    graph = embed_pictures(graph)
    changes.append("takes uint8 NHWC BGR pictures: colour order, scaling and layout built in")
    after = _float_outputs(graph, [pixels for _, pixels in inputs])
    proof: dict[str, float] = {}
    for shape, reference, compiled in zip(shapes, before, after, strict=True):
        proof = largest(proof, require_agreement(reference, compiled, read, shape[2:], "compiling the graph"))
    save(graph, out, half=half, brain=brain)

    final = embed_preprocessing(read)
    final["input"]["shape"] = _plain_shape(graph.input(0))
    write_spec(with_outputs(final, [_plain_shape(port) for port in graph.outputs]), out / "spec.json")
    return {"changes": changes, "max_abs_diff": proof, "operations": _counts(graph)}


def _bounds(openvino: Any, shapes: list[list[int]]) -> Any:
    """Returns the partial shape that holds all `shapes`, each axis from its smallest to its largest.

    OpenVINO plans memory and kernels for it: an axis that does not change is fixed.
    """
    axes = [(min(axis), max(axis)) for axis in zip(*shapes, strict=True)]
    return openvino.PartialShape([openvino.Dimension(low, high) if low < high else low for low, high in axes])


def _plain_shape(port: Any) -> list[int]:
    return [-1 if side.is_dynamic else side.get_length() for side in port.get_partial_shape()]


def _float_outputs(graph: Any, tensors: list[Any]) -> list[list[Any]]:
    """Returns the outputs of a model without its FakeQuantize operations for each input, on one thread.

    With them, a difference in the last bit may round to the next of 256 levels, and move a coarse prediction by pixels:
    what is compared is what was rewritten, and not how rounding spreads.
    """
    import openvino
    from openvino.passes import ConstantFolding, Manager

    plain = graph.clone()
    for operation in plain.get_ordered_ops():
        if operation.get_type_name() == "FakeQuantize":
            operation.output(0).replace(operation.input_value(0))
    folding = Manager()
    folding.register_pass(ConstantFolding())  # int8 weights beside float activations take another path, which fails
    folding.run_passes(plain)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(plain, "CPU", settings)
    return [[output.copy() for output in compiled(tensor).values()] for tensor in tensors]


def embed_pictures(graph: Any) -> Any:
    """Returns the model that takes uint8 (n, h, w, channels) instead of float32 (n, channels, h, w) scaled to 0..1; of
    three channels BGR instead of RGB."""
    from openvino import Layout, Type
    from openvino.preprocess import ColorFormat, PrePostProcessor

    from edgecompile.graphs.onnx.agreement import COLOURS

    prepared = PrePostProcessor(graph)
    entry = prepared.input(0)
    colours = graph.input(0).get_partial_shape()[1].get_length() == COLOURS
    tensor, steps = entry.tensor().set_element_type(Type.u8).set_layout(Layout("NHWC")), entry.preprocess()
    entry.model().set_layout(Layout("NCHW"))
    if colours:
        tensor.set_color_format(ColorFormat.BGR)
        steps.convert_color(ColorFormat.RGB)
    steps.convert_element_type(Type.f32).scale(255.0)
    return prepared.build()


def separate_silus(graph: Any) -> int:
    """Writes SiLU as y * tanh(y) + y with y = x / 2, in place; returns how many were rewritten.

    The identity follows from sigmoid(x) = (1 + tanh(x / 2)) / 2. OpenVINO fuses x * sigmoid(x) into the convolution
    before it; on AMX its INT8 kernels then spend three times as long on the activation as on the products
    (YOLO11n at 320 px: 9.5 ms, of which 7 are SiLU; written so: 6.4 ms). Without AMX the fused form is faster.
    """
    import numpy as np
    from openvino import opset13

    count = 0
    for operation in graph.get_ordered_ops():
        value = _silu_input(operation)
        if value is None:
            continue
        half = opset13.multiply(value, opset13.constant(np.float32(0.5)))
        written = opset13.add(opset13.multiply(opset13.tanh(half), half), half)
        written.set_friendly_name(operation.get_friendly_name())
        operation.output(0).replace(written.output(0))
        count += 1
    return count


def _silu_input(operation: Any) -> Any | None:
    """Returns the value whose SiLU an operation puts out, or None."""
    if operation.get_type_name() == "Swish" and operation.get_input_size() == 1:
        return operation.input_value(0)
    if operation.get_type_name() != "Multiply":
        return None
    for value_port, gate_port in ((0, 1), (1, 0)):
        gate = operation.input_value(gate_port).get_node()
        if gate.get_type_name() == "Sigmoid" and gate.input_value(0) == operation.input_value(value_port):
            return operation.input_value(value_port)
    return None


def _counts(graph: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for operation in graph.get_ordered_ops():
        counts[operation.get_type_name()] = counts.get(operation.get_type_name(), 0) + 1
    return dict(sorted(counts.items()))
