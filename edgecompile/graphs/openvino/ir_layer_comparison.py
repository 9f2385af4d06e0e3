"""Compares an OpenVINO IR with the float model in ONNX, layer by layer, on one picture: which layer leaves it first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.layer_comparison import LayerDistance, distances, outputs_of
from edgecompile.graphs.onnx.onnx_layers import precisions
from edgecompile.graphs.onnx.structure import Structure
from edgecompile.graphs.openvino.ir_layers import layers
from edgecompile.library_errors import explain

PLAIN = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
"""What is not in INT8 is computed in float, whatever the processor would do by itself."""
BESIDE_BIAS = "/WithoutBiases"
"""What OpenVINO adds to the name of a convolution whose bias is an addition behind it."""


def layer_distances(
    xml: bytes, weights: bytes, reference: onnx.ModelProto, tensor: np.ndarray, reference_tensor: np.ndarray
) -> list[LayerDistance]:
    """Returns the distance of each layer with weights whose output still has the name that it had in ONNX, in the order
    of the IR.

    Args:
        xml, weights: contents of `model.xml` and `model.bin`.
        tensor, reference_tensor: the same picture as the input of either.

    Raises:
        StepError: OpenVINO or ONNX Runtime cannot run a graph, or the two have no layer in common.
    """
    import openvino

    core = openvino.Core()
    try:
        model = core.read_model(xml, weights)
    except RuntimeError as error:
        raise explain(error, "the artifact") from error
    precision = {layer.name.removesuffix(BESIDE_BIAS): layer.precision for layer in layers(xml)}
    structure = Structure(reference)
    own = dict(_named(model, set(precisions(structure))))
    if not own:
        raise StepError("the artifact and the float model have no layer of the same name")
    names = list(own)
    ours, theirs = _outputs(core, model, tensor, names), outputs_of(reference, reference_tensor, names)
    return distances(structure, {name: precision.get(own[name], "unknown") for name in names}, ours, theirs)


def _named(model: Any, known: set[str]) -> Iterator[tuple[str, str]]:
    """Yields names of what layers put out, and of the operations that do."""
    for operation in model.get_ordered_ops():
        for output in operation.outputs():
            yield from ((name, operation.get_friendly_name()) for name in sorted(output.get_names() & known))


def _outputs(core: Any, model: Any, tensor: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Returns tensors inside of an IR, on the CPU."""
    try:
        model.add_outputs(names)
        compiled = core.compile_model(model, "CPU", PLAIN)
        found = compiled({0: tensor})
        return {name: np.asarray(found[name], np.float64) for name in names}
    except RuntimeError as error:
        raise explain(error, "the graph with its layers put out") from error
