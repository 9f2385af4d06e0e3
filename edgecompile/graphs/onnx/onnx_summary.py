"""An ONNX graph in numbers: its operators, and in which precision its learned layers and its weights are."""

from __future__ import annotations

import math
from collections import Counter

import onnx

from edgecompile.graphs.onnx.onnx_layers import precision_of, precisions
from edgecompile.graphs.onnx.structure import Structure


def summary(content: bytes) -> dict[str, int]:
    """Returns counts by name: `operators.Conv`, `layers.int8` (learned layers by the precision in which they multiply)
    and `weights.int8` (constant numbers by the precision in which they are stored).

    Args:
        content: an ONNX file without external data.
    """
    model = onnx.load_model_from_string(content)
    structure = Structure(model)
    counts = Counter(f"operators.{node.op_type}" for node in structure.nodes)
    counts.update(f"layers.{precision}" for precision in precisions(structure).values())
    for tensor in structure.initializers.values():
        counts[f"weights.{precision_of(tensor.data_type)}"] += math.prod(tensor.dims)
    return dict(sorted(counts.items()))
