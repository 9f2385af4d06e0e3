"""Rows of centre, size and class scores: the output of YOLOv8 with its last two axes exchanged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from edgecompile.graphs.onnx.layouts import yolo
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, anchors, 4 + classes): centre, size, class scores"
DECODE = "yolo"


def classes_in(shape: Sequence[int]) -> int | None:
    return yolo.classes_in([shape[0], shape[2], shape[1]]) if len(shape) == 3 else None


def doubt(output: np.ndarray, classes: int, size: Sequence[int]) -> str:
    scores = output[..., 4:]
    if scores[..., -1].any() and (np.round(scores[..., -1]) == scores[..., -1]).all():
        return "its last scores are whole numbers, as numbers of classes are"
    return yolo.doubt(output.transpose(0, 2, 1), classes, size)


def rewrite(model: onnx.ModelProto) -> None:
    behind = Behind(model)
    behind.put_out(*behind.add("Transpose", [behind.result], perm=[0, 2, 1]))
