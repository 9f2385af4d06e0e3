"""Decoded boxes and scores of classes in two outputs, before suppression: SSD, RetinaNet, PicoDet with its decode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, anchors, 4) and (n, anchors, classes), or (n, classes, anchors): boxes and scores, before suppression"
DECODE = "yolo"
BY_NUMBERS = False
OPTIONS = frozenset({"boxes", "unit", "activation", "background"})


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    spare = hints.options.get("background", "none") != "none"
    flat = [output.shape if len(output.shape) == 3 else (1, *output.shape) for output in outputs]
    boxes = [place for place, shape in enumerate(flat) if len(shape) == 3 and shape[2] == 4]
    for place in boxes:
        anchors = flat[place][1]
        others = [other for other in range(len(flat)) if other != place and len(flat[other]) == 3]
        rows = [other for other in others if flat[other][1] == anchors]
        columns = [other for other in others if flat[other][2] == anchors]
        widths = [(other, flat[other][2]) for other in rows] + [(other, flat[other][1]) for other in columns]
        widths = sorted(widths, key=lambda pair: pair[1] != hints.classes + spare)
        if widths and widths[0][1] > spare:
            return Match(widths[0][1] - spare, (place, widths[0][0]))
    return None


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    boxes, scores = outputs
    if said := _evidence.of_finite(boxes) or _evidence.of_finite(scores):
        return said
    if hints.options.get("activation", "none") == "none" and (said := _evidence.of_scores(scores)):
        return said
    rows = boxes.reshape(-1, 4)
    if hints.options.get("unit", "pixels") == "pixels":
        return _evidence.of_pixels(rows, hints.size)
    large = float(np.median(np.abs(rows).max(axis=1)))
    return "its boxes are pixels, expected fractions of the picture" if large > 2 * _evidence.FRACTION else ""


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    boxes, scores = (behind.batched(name, shape, 3) for name, shape in zip(behind.outputs, shapes, strict=True))
    anchors = shapes[0][-2]
    if shapes[1][-2] == anchors:
        scores = behind.one("Transpose", scores, perm=[0, 2, 1])
    scores = behind.activated(scores, hints.options.get("activation"), 1)
    scores = behind.without_background(scores, hints.options.get("background"), classes, 1)
    scale = _boxes_of.picture_sides(behind, hints, 1) if hints.options.get("unit", "pixels") == "fractions" else None
    columns = behind.one("Transpose", boxes, perm=[0, 2, 1])
    placed = _boxes_of.centres(behind, columns, hints.options.get("boxes", "corners"), 1, scale)
    return behind.one("Concat", placed, scores, axis=1)
