"""An OpenVINO IR in numbers, read from its XML alone: operators, and in which precision its layers and weights are."""

from __future__ import annotations

import math
from collections import Counter

from edgecompile.graphs.openvino.ir_layers import Network, layers, precision_of


def summary(content: bytes) -> dict[str, int]:
    """Returns counts by name, as `edgecompile.graphs.onnx.onnx_summary` does: `operators.Convolution`, `layers.int8`,
    `weights.int8`.

    Args:
        content: model.xml of an IR.
    """
    operations = Network.read(content).operations.values()
    counts = Counter(
        f"operators.{operation.get('type')}" for operation in operations if operation.get("type") != "Const"
    )
    counts.update(f"layers.{layer.precision}" for layer in layers(content))
    for operation in operations:
        if operation.get("type") == "Const" and (data := operation.find("data")) is not None:
            sides = map(int, filter(None, data.get("shape", "").split(",")))
            counts[f"weights.{precision_of(operation)}"] += math.prod(sides)
    return dict(sorted(counts.items()))
