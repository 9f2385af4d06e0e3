"""Rows of corners, score and class number, as heads without suppression put them out: what the runtime decodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import ANY_NUMBER, Hints, Match, Output, Shape, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, boxes, 6): corners, score, class number"
DECODE = "end2end"
BY_NUMBERS = True
OPTIONS: frozenset[str] = frozenset()

LEAST_SCORE = 0.01
"""Rows with lower scores may be padding."""


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    shape = outputs[0].shape
    return Match(ANY_NUMBER) if len(shape) == 3 and shape[2] == 6 else None


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    rows = outputs[0].reshape(-1, 6)
    boxes, scores, numbers = rows[:, :4], rows[:, 4], rows[:, 5]
    real = scores >= LEAST_SCORE
    return (
        _evidence.of_finite(rows)
        or _evidence.of_class_numbers(numbers[scores > 0], classes)
        or _evidence.of_scores(scores)
        or _evidence.of_corners(boxes[real], scores[real])
        or _evidence.of_pixels(boxes[real], hints.size)
    )


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    """Changes nothing."""
    return behind.outputs[0]
