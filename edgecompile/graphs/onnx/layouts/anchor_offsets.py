"""Offsets from anchors, scores of classes, and the anchors themselves, as a third output or in a file beside the
model: EfficientDet, SSD.

A box's centre is that of its anchor moved by shares of the anchor's size; its size is that of the anchor times e to the
power of what is put out. SSD multiplies both with variances first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = (
    "(n, anchors, 4), (n, anchors, classes) and the anchors (1, anchors, 4), or these in outputs.anchors_file: offsets "
    "from anchors, and scores"
)
DECODE = "yolo"
BY_NUMBERS = False
OPTIONS = frozenset({"boxes", "unit", "activation", "background", "variances", "anchors_file"})

VARIANCES = (0.1, 0.2)
"""By which SSD divides offsets and logarithms of sizes in training; its anchors are centres. Where they are corners,
nothing is divided unless it is stated."""
ANCHOR_WORDS = ("anchor", "prior")
SCORE_WORDS = ("score", "cls", "class", "conf", "prob", "logit")
"""What names of outputs hold, where both have four columns."""


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    spare = hints.options.get("background", "none") != "none"
    shapes = [output.shape if len(output.shape) == 3 else (1, *output.shape) for output in outputs]
    rows = [place for place, shape in enumerate(shapes) if len(shape) == 3]
    fours = [place for place in rows if shapes[place][2] == 4]
    put_out: list[int] = []
    if hints.anchors is None:
        named = [place for place in fours if _named(outputs[place], ANCHOR_WORDS)]
        put_out = (named or (fours[-1:] if len(fours) > 1 else []))[:1]
        if not put_out:
            return None
        rows = [place for place in rows if place not in put_out and shapes[place][1] == shapes[put_out[0]][1]]
    candidates = [place for place in rows if shapes[place][2] == 4]
    candidates.sort(key=lambda place: _named(outputs[place], SCORE_WORDS))
    for offsets in candidates[:1]:
        for scores in rows:
            if scores != offsets and shapes[scores][1] == shapes[offsets][1] and shapes[scores][2] > spare:
                return Match(shapes[scores][2] - spare, (offsets, scores, *put_out))
    return None


def _named(output: Output, words: Sequence[str]) -> bool:
    return any(word in output.name.lower() for word in words)


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    if said := _evidence.of_finite(outputs[0]) or _evidence.of_finite(outputs[1]):
        return said
    if hints.anchors is not None and len(hints.anchors) != outputs[0].shape[-2]:
        return f"the file of anchors has {len(hints.anchors)}, and the model puts out {outputs[0].shape[-2]} offsets"
    return "" if hints.options.get("activation", "none") != "none" else _evidence.of_scores(outputs[1])


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    offsets, scores, *put_out = (
        behind.batched(name, shape, 3) for name, shape in zip(behind.outputs, shapes, strict=True)
    )
    anchors = put_out[0] if put_out else behind.numbers(np.expand_dims(np.asarray(hints.anchors), 0))
    kind = hints.options.get("boxes", "centres")
    scale = _boxes_of.picture_sides(behind, hints) if hints.options.get("unit", "fractions") == "fractions" else None
    middle, size = behind.split(_boxes_of.centres(behind, anchors, kind, 2, scale), [2, 2], 2)
    if kind == "corners_yx":  # then its offsets stand in that order too
        offsets = behind.one("Gather", offsets, behind.constant([1, 0, 3, 2]), axis=2)
    variances = hints.options.get("variances", VARIANCES if kind == "centres" else None)
    if variances:
        first, second = variances
        offsets = behind.one("Mul", offsets, behind.numbers([first, first, second, second]))
    move, logs = behind.split(offsets, [2, 2], 2)
    placed = behind.one("Add", middle, behind.one("Mul", move, size))
    sides = behind.one("Mul", behind.one("Exp", logs), size)
    scores = behind.activated(scores, hints.options.get("activation"), 2)
    scores = behind.without_background(scores, hints.options.get("background"), classes, 2)
    return behind.one("Transpose", behind.one("Concat", placed, sides, scores, axis=2), perm=[0, 2, 1])
