"""Rows of centre, size, objectness and class scores, as YOLOv5 and YOLOv7 put them out; a score is the product of both
of the latter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from edgecompile.graphs.onnx.layouts import _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, anchors, 5 + classes): centre, size, objectness, class scores"
DECODE = "yolo"


def classes_in(shape: Sequence[int]) -> int | None:
    return shape[2] - 5 if len(shape) == 3 and 5 < shape[2] < shape[1] else None


def doubt(output: np.ndarray, classes: int, size: Sequence[int]) -> str:
    rows = output.reshape(-1, 5 + classes)
    return (
        _evidence.of_finite(output)
        or _evidence.of_scores(rows[:, 4:])
        or _evidence.of_centres(rows[:, :4], rows[:, 4], size)
    )


def rewrite(model: onnx.ModelProto) -> None:
    behind = Behind(model)
    width = model.graph.output[0].type.tensor_type.shape.dim[2].dim_value
    (columns,) = behind.add("Transpose", [behind.result], perm=[0, 2, 1])
    parts = behind.constant([4, 1, width - 5])
    boxes, objectness, scores = behind.add("Split", [columns, parts], outputs=3, axis=1)
    behind.put_out(*behind.add("Concat", [boxes, *behind.add("Mul", [scores, objectness])], axis=1))
