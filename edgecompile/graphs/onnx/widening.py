"""Makes a model of half precision one of float32, so that every pass works on it; `fp16` halves it again.

Each number of half precision is one of float32, so weights keep their values; what is computed is rounded less.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgecompile.graphs.onnx.walk import messages_within

HALF, FULL = TensorProto.FLOAT16, TensorProto.FLOAT


def widen(model: onnx.ModelProto) -> int:
    """Rewrites tensors, types and casts of half precision as float32, in place; returns how many weights there were."""
    count = 0
    for message in messages_within(model):
        if isinstance(message, onnx.TensorProto) and message.data_type == HALF:
            name = message.name
            message.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(message).astype(np.float32), name))
            count += 1
        elif isinstance(message, onnx.TypeProto.Tensor) and message.elem_type == HALF:
            message.elem_type = FULL
        elif isinstance(message, onnx.AttributeProto) and _is_type(message):
            message.i = FULL
    return count


def _is_type(attribute: Any) -> bool:
    """Whether an attribute states half precision as a type."""
    return attribute.name in ("to", "dtype", "output_dtype", "stash_type") and attribute.i == HALF
