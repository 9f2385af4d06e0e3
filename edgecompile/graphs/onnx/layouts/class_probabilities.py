"""A probability for each class, as classifiers with their softmax put them out: what the runtime reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, classes): a probability for each class"
DECODE = "probabilities"
BY_NUMBERS = True
OPTIONS: frozenset[str] = frozenset()

FROM_ONE = 1e-2
"""How far the probabilities of a picture may sum up to beside 1: rounding of half precision."""


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    shape = outputs[0].shape
    flat = len(shape) == 2 or (len(shape) == 4 and tuple(shape[2:]) == (1, 1))
    return Match(shape[1]) if flat and shape[1] > 1 else None


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    sums = outputs[0].reshape(-1, classes).sum(axis=1)
    if said := _evidence.of_finite(outputs[0]) or _evidence.of_scores(outputs[0]):
        return said
    worst = float(sums[np.abs(sums - 1).argmax()])
    return f"the probabilities of a picture sum up to {worst:.3g}, expected 1" if abs(worst - 1) > FROM_ONE else ""


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    """Takes axes of one pixel off; else changes nothing."""
    return behind.outputs[0] if len(shapes[0]) == 2 else behind.one("Flatten", behind.outputs[0], axis=1)
