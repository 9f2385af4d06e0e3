"""Boxes as fractions and scores of classes for each query of a transformer (DETR kinds), in two outputs or in one; the
best pairs of query and class are the detections, without suppression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, queries, 4) and (n, queries, classes), or both in one: centre and size as fractions, logits or scores"
DECODE = "end2end"
BY_NUMBERS = False
OPTIONS = frozenset({"boxes", "unit", "activation", "background"})

BOX_WORDS = ("box", "det")
"""What names of outputs of boxes hold, where both outputs have four columns."""


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    spare = hints.options.get("background", "none") != "none"
    if len(outputs) == 1:
        shape = outputs[0].shape
        return Match(shape[2] - 4 - spare) if len(shape) == 3 and shape[2] > 4 + spare else None
    rows = [place for place, output in enumerate(outputs) if len(output.shape) == 3]
    fours = [place for place in rows if outputs[place].shape[2] == 4]
    named = [place for place in fours if any(word in outputs[place].name.lower() for word in BOX_WORDS)]
    boxes = (named or fours)[:1]
    scores = [
        place for place in rows if boxes and place != boxes[0] and outputs[place].shape[1] == outputs[boxes[0]].shape[1]
    ]
    if not scores:
        return None
    place = next((place for place in scores if outputs[place].shape[2] == hints.classes + spare), scores[0])
    return Match(outputs[place].shape[2] - spare, (boxes[0], place))


def _parts(outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return (outputs[0][..., :4], outputs[0][..., 4:]) if len(outputs) == 1 else (outputs[0], outputs[1])


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    boxes, scores = _parts(outputs)
    if said := _evidence.of_finite(boxes) or _evidence.of_finite(scores):
        return said
    if (
        hints.options.get("unit", "fractions") == "fractions"
        and np.median(np.abs(boxes).max(axis=-1)) > _evidence.FRACTION
    ):
        return "its boxes are pixels, expected fractions of the picture"
    return "" if hints.options.get("activation", "none") != "none" else _evidence.of_scores(scores)


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    if len(shapes) == 1:
        boxes, scores = behind.split(behind.outputs[0], [4, shapes[0][2] - 4], 2)
    else:
        boxes, scores = behind.outputs
    scores = behind.activated(scores, hints.options.get("activation"), 2)
    scores = behind.without_background(scores, hints.options.get("background"), classes, 2)
    scale = _boxes_of.picture_sides(behind, hints) if hints.options.get("unit", "fractions") == "fractions" else None
    placed = _boxes_of.corners(behind, boxes, hints.options.get("boxes", "centres"), scale)
    return _boxes_of.best_rows(behind, placed, scores, shapes[0][1], classes)
