"""Columns of centre, size and class scores, as YOLOv8 and later models put them out: what the runtime decodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from edgecompile.graphs.onnx.layouts import _evidence

ABOUT = "(n, 4 + classes, anchors): centre, size, class scores"
DECODE = "yolo"


def classes_in(shape: Sequence[int]) -> int | None:
    return shape[1] - 4 if len(shape) == 3 and 4 < shape[1] < shape[2] else None


def doubt(output: np.ndarray, classes: int, size: Sequence[int]) -> str:
    columns = output.transpose(0, 2, 1).reshape(-1, 4 + classes)
    boxes, scores = columns[:, :4], columns[:, 4:]
    return (
        _evidence.of_finite(output)
        or _evidence.of_scores(scores)
        or _evidence.of_centres(boxes, scores.max(axis=1), size)
    )


def rewrite(model: onnx.ModelProto) -> None:
    """Changes nothing."""
