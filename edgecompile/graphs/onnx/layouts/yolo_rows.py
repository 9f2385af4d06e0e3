"""Rows of centre, size and class scores: the output of YOLOv8 with its last two axes exchanged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, yolo
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, anchors, 4 + classes): centre, size, class scores"
DECODE = "yolo"
BY_NUMBERS = True
OPTIONS: frozenset[str] = frozenset()


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    shape = outputs[0].shape
    return Match(shape[2] - 4) if len(shape) == 3 and 4 < shape[2] < shape[1] else None


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    last = outputs[0][..., -1]
    if last.any() and (np.round(last) == last).all():
        return "its last scores are whole numbers, as numbers of classes are"
    return yolo.doubt([outputs[0].transpose(0, 2, 1)], classes, hints)


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    return behind.one("Transpose", behind.outputs[0], perm=[0, 2, 1])
