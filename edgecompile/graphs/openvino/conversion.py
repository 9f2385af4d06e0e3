"""From an ONNX graph to OpenVINO's."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import onnx

from edgecompile.graphs.onnx.serialization import load
from edgecompile.graphs.onnx.slices import merge_gathered_slices
from edgecompile.graphs.openvino import import_openvino


def from_onnx(file: Path) -> Any:
    """Returns the OpenVINO model of an ONNX file, written so that OpenVINO reads it where it would not as it is."""
    graph: onnx.ModelProto = load(file)
    merged = merge_gathered_slices(graph)
    return import_openvino().convert_model(BytesIO(graph.SerializeToString()) if merged else file)
