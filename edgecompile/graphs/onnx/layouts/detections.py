"""What remains after a suppression in the graph: boxes, scores and numbers of classes, in two to four outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import ANY_NUMBER, Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "boxes (n, k, 4), scores (n, k) and classes (n, k); or dets (n, k, 5) and classes; or without n, of one picture"
DECODE = "end2end"
BY_NUMBERS = False
OPTIONS = frozenset({"boxes", "unit", "background"})

CLASS_WORDS = ("label", "class", "cls", "cat")


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    boxes = next(
        (place for place, output in enumerate(outputs) if len(output.shape) > 1 and output.shape[-1] in (4, 5)), None
    )
    if boxes is None:
        return None
    shape = outputs[boxes].shape
    lists = [place for place, output in enumerate(outputs) if output.shape == shape[:-1]]
    classes = [place for place in lists if any(word in outputs[place].name.lower() for word in CLASS_WORDS)]
    if shape[-1] == 5:
        chosen = (classes or lists)[:1]
        return Match(ANY_NUMBER, (boxes, *chosen)) if chosen else None
    if len(lists) != 2:
        return None
    scores = next((place for place in lists if "score" in outputs[place].name.lower() and place not in classes), None)
    label = classes[0] if classes else next(place for place in reversed(lists) if place != scores)
    scores = next(place for place in lists if place != label) if scores is None else scores
    return Match(ANY_NUMBER, (boxes, scores, label))


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    boxes = outputs[0][..., :4].reshape(-1, 4)
    scores = (outputs[0][..., 4] if len(outputs) == 2 else outputs[1]).ravel()
    first = hints.options.get("background") == "first"
    real = scores > _evidence.ROUNDING
    numbers = outputs[-1].ravel().astype(np.float64)[real] - first
    if outputs[0].ndim == 2 and hints.pictures > 1:
        return _boxes_of.OF_ONE_PICTURE
    return (
        _evidence.of_finite(boxes)
        or _evidence.of_scores(scores)
        or _evidence.of_class_numbers(numbers, classes)
        or ("" if hints.options.get("unit") == "fractions" else _evidence.of_pixels(boxes[real], hints.size))
    )


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    axes = len(shapes[0])
    boxes = behind.outputs[0] if axes == 3 else behind.one("Unsqueeze", behind.outputs[0], behind.constant([0]))
    if len(shapes) == 2:
        boxes, scores = behind.split(boxes, [4, 1], 2)
    else:
        scores = behind.one("Unsqueeze", behind.outputs[1], behind.constant([2] if axes == 3 else [0, 2]))
    numbers = behind.one("Unsqueeze", behind.outputs[-1], behind.constant([2] if axes == 3 else [0, 2]))
    if hints.options.get("background") == "first":
        numbers = behind.one("Sub", numbers, behind.numbers(1.0))
    scale = _boxes_of.picture_sides(behind, hints) if hints.options.get("unit") == "fractions" else None
    placed = _boxes_of.corners(behind, boxes, hints.options.get("boxes", "corners"), scale)
    return _boxes_of.fixed_rows(behind, behind.one("Concat", placed, scores, numbers, axis=2))
