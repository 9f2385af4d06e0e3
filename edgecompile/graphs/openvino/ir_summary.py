"""An OpenVINO IR in numbers, read from its XML alone: operators, and in which precision its layers and weights are."""

from __future__ import annotations

import math
from collections import Counter
from xml.etree import ElementTree

LEARNED = frozenset(
    {"Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData", "MatMul"}
)
UNPACKS = frozenset({"Convert", "FakeQuantize", "Multiply", "Reshape", "Subtract", "Transpose"})
"""Operators that stand between stored weights and the layer that uses them."""
PRECISIONS = {"f32": "fp32", "f16": "fp16", "i8": "int8", "u8": "int8", "i4": "int4", "u4": "int4"}


def summary(content: bytes) -> dict[str, int]:
    """Returns counts by name, as `edgecompile.graphs.onnx.onnx_summary` does: `operators.Convolution`, `layers.int8`,
    `weights.int8`.

    Args:
        content: model.xml of an IR.
    """
    root = ElementTree.fromstring(content)
    layers = {layer.get("id"): layer for layer in root.iterfind("./layers/layer")}
    feeds = {
        (edge.get("to-layer"), edge.get("to-port")): edge.get("from-layer") for edge in root.iterfind("./edges/edge")
    }
    counts = Counter(f"operators.{layer.get('type')}" for layer in layers.values() if layer.get("type") != "Const")
    for number, layer in layers.items():
        data = layer.find("data")
        if layer.get("type") == "Const" and data is not None:
            counts[f"weights.{_precision(data)}"] += math.prod(map(int, filter(None, data.get("shape", "").split(","))))
        elif layer.get("type") in LEARNED:
            for port in ("1", "0"):
                source = layers.get(feeds.get((number, port)))
                while source is not None and source.get("type") in UNPACKS:
                    source = layers.get(feeds.get((source.get("id"), "0")))
                if source is not None and source.get("type") == "Const":
                    counts[f"layers.{_precision(source.find('data'))}"] += 1
                    break
    return dict(sorted(counts.items()))


def _precision(data: ElementTree.Element | None) -> str:
    """Returns the precision of a constant, from its `data` element."""
    kind = data.get("element_type", "unknown") if data is not None else "unknown"
    return PRECISIONS.get(kind, kind)
