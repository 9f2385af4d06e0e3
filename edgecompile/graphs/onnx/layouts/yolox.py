"""Rows of offsets from a cell, logarithms of sizes in cells, objectness and class scores: YOLOX without its decode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, cells, 5 + classes): offset from the cell, log of size in cells, objectness, class scores"
DECODE = "yolo"
BY_NUMBERS = False
OPTIONS = frozenset({"strides"})

STRIDES = (8, 16, 32)
LARGEST_LOG = 12.0
"""Logarithm of a size in cells that no box reaches."""


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    shape = outputs[0].shape
    strides = hints.options.get("strides", STRIDES)
    if len(shape) != 3 or shape[2] <= 5 or shape[1] != _boxes_of.points(hints.size, strides):
        return None
    return Match(shape[2] - 5)


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    rows = outputs[0].reshape(-1, 5 + classes)
    sure = rows[rows[:, 4] >= _evidence.CONFIDENT]
    if len(sure) and np.median(sure[:, 2:4]) > LARGEST_LOG:
        return "its sizes are no logarithms: it is decoded already, as rows_with_objectness"
    return _evidence.of_finite(rows) or _evidence.of_scores(rows[:, 4:])


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    places, cells = _boxes_of.placed_cells(behind, hints, hints.options.get("strides", STRIDES))
    columns = behind.one("Transpose", behind.outputs[0], perm=[0, 2, 1])
    offsets, logs, objectness, scores = behind.split(columns, [2, 2, 1, classes], 1)
    middle = behind.one("Mul", behind.one("Add", offsets, places), cells)
    size = behind.one("Mul", behind.one("Exp", logs), cells)
    return behind.one("Concat", middle, size, behind.one("Mul", scores, objectness), axis=1)
