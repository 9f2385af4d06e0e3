"""Rows of class number, score and corners, as PaddleDetection's models put them out behind their suppression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import ANY_NUMBER, Hints, Match, Output, Shape, _boxes_of
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(k, 6) of one picture, or (n, k, 6): class number, score, corners"
DECODE = "end2end"
BY_NUMBERS = False
OPTIONS: frozenset[str] = frozenset()


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    """How many rows count, a further output, is not read: rows beyond have no score."""
    place = next((place for place, output in enumerate(outputs) if output.shape[-1:] == (6,)), None)
    return Match(ANY_NUMBER, (place,)) if place is not None and len(outputs[place].shape) in (2, 3) else None


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    if outputs[0].ndim == 2 and hints.pictures > 1:
        return _boxes_of.OF_ONE_PICTURE
    rows = outputs[0].reshape(-1, 6)
    return _boxes_of.row_parts(rows[:, 2:], rows[:, 1], rows[:, 0], classes, hints)


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    rows = behind.batched(behind.outputs[0], shapes[0], 3)
    return _boxes_of.fixed_rows(behind, behind.one("Gather", rows, behind.constant([2, 3, 4, 5, 1, 0]), axis=2))
