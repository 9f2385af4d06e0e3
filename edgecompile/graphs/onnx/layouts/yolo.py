"""Columns of centre, size and class scores, as YOLOv8 and later models put them out: what the runtime decodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, 4 + classes, anchors): centre, size, class scores"
DECODE = "yolo"
BY_NUMBERS = True
OPTIONS: frozenset[str] = frozenset()


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    shape = outputs[0].shape
    return Match(shape[1] - 4) if len(shape) == 3 and 4 < shape[1] < shape[2] else None


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    columns = outputs[0].transpose(0, 2, 1).reshape(-1, 4 + classes)
    boxes, scores = columns[:, :4], columns[:, 4:]
    return (
        _evidence.of_finite(columns)
        or _evidence.of_scores(scores)
        or _evidence.of_centres(boxes, scores.max(axis=1), hints.size)
        or _evidence.of_spread(boxes, hints.size)
    )


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    """Changes nothing."""
    return behind.outputs[0]
