"""Boxes and scores of everything, and which of them a suppression in the graph selected: what the operator
NonMaxSuppression of ONNX puts out, as an output of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import INT64, Behind

ABOUT = (
    "boxes (1, anchors, 4), scores (1, classes, anchors), and (k, 3) or (1, k, 3) of picture, class and anchor; of one "
    "picture at a time"
)
DECODE = "end2end"
BY_NUMBERS = False
OPTIONS = frozenset({"boxes", "unit"})


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    shapes = [output.shape for output in outputs]
    boxes = [place for place, shape in enumerate(shapes) if len(shape) == 3 and shape[2] == 4]
    for place in boxes:
        anchors = shapes[place][1]
        scores = [other for other, shape in enumerate(shapes) if len(shape) == 3 and shape[2] == anchors]
        chosen = [
            other
            for other, shape in enumerate(shapes)
            if other not in (place, *scores) and len(shape) in (2, 3) and shape[-1] == 3
        ]
        if scores and chosen:
            return Match(shapes[scores[0]][1], (place, scores[0], chosen[-1]))
    return None


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    boxes, scores, chosen = outputs[0], outputs[1], outputs[2].reshape(-1, 3)
    if hints.pictures > 1:
        return _boxes_of.OF_ONE_PICTURE
    if said := _evidence.of_finite(boxes) or _evidence.of_scores(scores):
        return said
    most = np.array([0, scores.shape[1] - 1, scores.shape[2] - 1])
    chosen = chosen[(chosen >= 0).all(axis=1)]
    if (chosen != np.round(chosen)).any() or (chosen > most).any():
        return "the numbers of its last output are not those of picture, class and anchor"
    rows = boxes[0, chosen[:, 2].astype(np.int64)]
    return "" if hints.options.get("unit") == "fractions" else _evidence.of_pixels(rows, hints.size)


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    boxes, scores, chosen = behind.outputs
    flat = behind.one("Reshape", behind.one("Cast", chosen, to=INT64), behind.constant([-1, 3]))
    real = behind.one("Max", flat, behind.constant(0))  # rows of -1 fill up what some suppressions leave
    picture, number, anchor = behind.split(real, [1, 1, 1], 1)
    box = behind.one("GatherND", boxes, behind.one("Concat", picture, anchor, axis=1))
    score = behind.one("Unsqueeze", behind.one("GatherND", scores, real), behind.constant([1]))
    is_real = behind.one("Cast", behind.one("Equal", flat, real), to=1)
    score = behind.one("Mul", score, behind.one("ReduceMin", is_real, behind.constant([1]), keepdims=1))
    scale = _boxes_of.picture_sides(behind, hints) if hints.options.get("unit") == "fractions" else None
    batch = behind.one("Unsqueeze", box, behind.constant([0]))
    placed = _boxes_of.corners(behind, batch, hints.options.get("boxes", "corners"), scale)
    beside = behind.one("Concat", score, behind.one("Cast", number, to=1), axis=1)
    rows = behind.one("Concat", placed, behind.one("Unsqueeze", beside, behind.constant([0])), axis=2)
    return _boxes_of.fixed_rows(behind, rows)
