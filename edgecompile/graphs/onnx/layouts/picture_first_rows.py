"""Rows of picture, corners, class number and score, as YOLOv7 puts them out with --end2end for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import ANY_NUMBER, Hints, Match, Output, Shape, _boxes_of
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(k, 7): number of the picture, corners, class number, score; of one picture at a time"
DECODE = "end2end"
BY_NUMBERS = False
OPTIONS: frozenset[str] = frozenset()


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    shape = outputs[0].shape
    return Match(ANY_NUMBER) if len(shape) == 2 and shape[1] == 7 else None


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    rows = outputs[0]
    if hints.pictures > 1:
        return _boxes_of.OF_ONE_PICTURE
    if rows[:, 0].any():
        return f"its first numbers reach {np.abs(rows[:, 0]).max():.3g}, expected 0: that of the only picture"
    return _boxes_of.row_parts(rows[:, 1:5], rows[:, 6], rows[:, 5], classes, hints)


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    rows = behind.batched(behind.outputs[0], shapes[0], 3)
    return _boxes_of.fixed_rows(behind, behind.one("Gather", rows, behind.constant([1, 2, 3, 4, 6, 5]), axis=2))
