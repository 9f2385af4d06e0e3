"""Rows of centre, size, objectness and class scores, as YOLOv5, YOLOv7 and a decoded YOLOX put them out; a score is the
product of both of the latter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, anchors, 5 + classes): centre, size, objectness, class scores"
DECODE = "yolo"
BY_NUMBERS = True
OPTIONS: frozenset[str] = frozenset()


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    shape = outputs[0].shape
    return Match(shape[2] - 5) if len(shape) == 3 and 5 < shape[2] < shape[1] else None


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    rows = outputs[0].reshape(-1, 5 + classes)
    return (
        _evidence.of_finite(rows)
        or _evidence.of_scores(rows[:, 4:])
        or _evidence.of_centres(rows[:, :4], rows[:, 4], hints.size)
        or _evidence.of_spread(rows[:, :4], hints.size)
    )


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    columns = behind.one("Transpose", behind.outputs[0], perm=[0, 2, 1])
    boxes, objectness, scores = behind.split(columns, [4, 1, classes], 1)
    return behind.one("Concat", boxes, behind.one("Mul", scores, objectness), axis=1)
