"""Class score, objectness, box and key points of each feature map, as YuNet puts them out; key points are not read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = (
    "class scores, objectness, offset and log of size in cells of each feature map, by names like cls_8, obj_8, bbox_8"
)
DECODE = "yolo"
BY_NUMBERS = False
OPTIONS = frozenset({"strides"})

STRIDES = (8, 16, 32)
KINDS = ("cls", "obj", "bbox")


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    by_name = {output.name: place for place, output in enumerate(outputs)}
    strides = hints.options.get("strides", STRIDES)
    wanted = [f"{kind}_{stride}" for kind in KINDS for stride in strides]
    if any(name not in by_name for name in wanted):
        return None
    places = tuple(by_name[name] for name in wanted)
    shapes = [outputs[place].shape for place in places]
    counts = [_boxes_of.points(hints.size, [stride]) for stride in strides]
    if any(len(shape) != 3 or shape[1] != counts[number % len(strides)] for number, shape in enumerate(shapes)):
        return None
    return Match(shapes[0][2], places)


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    levels = len(outputs) // len(KINDS)
    return next((said for output in outputs[: 2 * levels] if (said := _evidence.of_scores(output))), "")


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    levels = len(shapes) // len(KINDS)
    scores, objectness, boxes = (
        behind.one("Transpose", behind.joined(behind.outputs[first : first + levels], 1), perm=[0, 2, 1])
        for first in range(0, len(shapes), levels)
    )
    places, cells = _boxes_of.placed_cells(behind, hints, hints.options.get("strides", STRIDES))
    offset, logs = behind.split(boxes, [2, 2], 1)
    middle = behind.one("Mul", behind.one("Add", offset, places), cells)
    size = behind.one("Mul", behind.one("Exp", logs), cells)
    score = behind.one("Sqrt", behind.one("Mul", scores, objectness))
    return behind.one("Concat", middle, size, score, axis=1)
