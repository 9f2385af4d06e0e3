"""Offsets from anchors, scores of classes, and the anchors themselves as a third output: EfficientDet, SSD.

A box's centre is that of its anchor moved by shares of the anchor's size; its size is that of the anchor times e to the
power of what is put out. SSD multiplies both with variances first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, anchors, 4), (n, anchors, classes) and the anchors (1, anchors, 4): offsets from anchors, and scores"
DECODE = "yolo"
BY_NUMBERS = False
FIXED_SIZE = True
OPTIONS = frozenset({"boxes", "unit", "activation", "background"})

VARIANCES = (0.1, 0.2)
"""By which SSD divides offsets and logarithms of sizes in training; its anchors are centres."""


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    spare = hints.options.get("background", "none") != "none"
    shapes = [output.shape if len(output.shape) == 3 else (1, *output.shape) for output in outputs]
    fours = [place for place, shape in enumerate(shapes) if len(shape) == 3 and shape[2] == 4]
    named = [place for place in fours if any(word in outputs[place].name.lower() for word in ("anchor", "prior"))]
    anchors = named[0] if named else (fours[-1] if len(fours) > 1 else None)
    if anchors is None:
        return None
    offsets = next((place for place in fours if place != anchors and shapes[place][1] == shapes[anchors][1]), None)
    scores = [
        place
        for place, shape in enumerate(shapes)
        if place not in (anchors, offsets) and len(shape) == 3 and shape[1] == shapes[anchors][1] and shape[2] > spare
    ]
    if offsets is None or not scores:
        return None
    return Match(shapes[scores[0]][2] - spare, (offsets, scores[0], anchors))


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    if said := _evidence.of_finite(outputs[0]) or _evidence.of_finite(outputs[1]):
        return said
    return "" if hints.options.get("activation", "none") != "none" else _evidence.of_scores(outputs[1])


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    offsets, scores, anchors = (
        behind.batched(name, shape, 3) for name, shape in zip(behind.outputs, shapes, strict=True)
    )
    kind = hints.options.get("boxes", "centres")
    scale = hints.size if hints.options.get("unit", "fractions") == "fractions" else None
    middle, size = behind.split(_boxes_of.centres(behind, anchors, kind, 2, scale), [2, 2], 2)
    if kind == "corners_yx":  # then its offsets stand in that order too
        offsets = behind.one("Gather", offsets, behind.constant([1, 0, 3, 2]), axis=2)
    if kind == "centres":
        first, second = VARIANCES
        offsets = behind.one("Mul", offsets, behind.numbers([first, first, second, second]))
    move, logs = behind.split(offsets, [2, 2], 2)
    placed = behind.one("Add", middle, behind.one("Mul", move, size))
    sides = behind.one("Mul", behind.one("Exp", logs), size)
    scores = behind.activated(scores, hints.options.get("activation"), 2)
    scores = behind.without_background(scores, hints.options.get("background"), classes, 2)
    return behind.one("Transpose", behind.one("Concat", placed, sides, scores, axis=2), perm=[0, 2, 1])
