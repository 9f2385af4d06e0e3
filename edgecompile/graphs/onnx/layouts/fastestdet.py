"""One feature map of objectness, box and class scores, as FastestDet puts it out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, 5 + classes, rows, columns): objectness, offset before tanh, size before sigmoid, class scores"
DECODE = "yolo"
BY_NUMBERS = False
OPTIONS: frozenset[str] = frozenset()

OBJECTNESS, CLASS = 0.6, 0.4
"""Powers of objectness and of a class score whose product is the score."""
LEAST = 1e-12
"""A root of 0 has no slope; no score is as low."""


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    shape = outputs[0].shape
    fits = len(shape) == 4 and shape[1] > 5 and hints.size[0] % shape[2] == hints.size[1] % shape[3] == 0
    square = fits and hints.size[0] // shape[2] == hints.size[1] // shape[3]
    return Match(shape[1] - 5) if square else None


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    scores = np.concatenate((outputs[0][:, :1], outputs[0][:, 5:]), axis=1)
    return _evidence.of_finite(outputs[0]) or _evidence.of_scores(scores)


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    places, stride = _boxes_of.placed_cells(behind, hints, [hints.size[0] // shapes[0][2]])
    flat = behind.one("Reshape", behind.outputs[0], behind.constant([0, 5 + classes, -1]))
    objectness, offset, size, scores = behind.split(flat, [1, 2, 2, classes], 1)
    moved = behind.one("Add", behind.one("Tanh", offset), places)
    middle = behind.one("Mul", moved, stride)
    whole, _ = behind.split(_boxes_of.picture_sides(behind, hints, 1), [2, 2], 0)
    sides = behind.one("Mul", behind.one("Sigmoid", size), whole)
    parts = [
        behind.one("Pow", behind.one("Max", part, behind.numbers(LEAST)), behind.numbers(power))
        for part, power in ((objectness, OBJECTNESS), (scores, CLASS))
    ]
    return behind.one("Concat", middle, sides, behind.one("Mul", parts[1], parts[0]), axis=1)
