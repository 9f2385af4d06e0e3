"""Rows of corners, score and class number, as heads without suppression put them out: what the runtime decodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from edgecompile.graphs.onnx.layouts import ANY_NUMBER, _evidence

ABOUT = "(n, boxes, 6): corners, score, class number"
DECODE = "end2end"

LEAST_SCORE = 0.01
"""Rows with lower scores may be padding."""


def classes_in(shape: Sequence[int]) -> int | None:
    return ANY_NUMBER if len(shape) == 3 and shape[2] == 6 else None


def doubt(output: np.ndarray, classes: int, size: Sequence[int]) -> str:
    rows = output.reshape(-1, 6)
    boxes, scores, numbers = rows[:, :4], rows[:, 4], rows[:, 5]
    real = scores >= LEAST_SCORE
    return (
        _evidence.of_finite(output)
        or _evidence.of_class_numbers(numbers[scores > 0], classes)
        or _evidence.of_scores(scores)
        or _evidence.of_corners(boxes[real], scores[real])
        or _evidence.of_pixels(boxes[real], size)
    )


def rewrite(model: onnx.ModelProto) -> None:
    """Changes nothing."""
