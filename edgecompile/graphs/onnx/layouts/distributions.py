"""Class scores and, for each side of a box, a distribution over distances in cells (generalized focal loss): NanoDet
and PicoDet, in one output or in two for each feature map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _boxes_of, _evidence
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, cells, classes + 4 * bins), or scores and distances of each feature map: distances to the sides, in bins"
DECODE = "yolo"
BY_NUMBERS = False
OPTIONS = frozenset({"strides", "offset", "activation"})

FEWEST_BINS, MOST_BINS = 4, 32
USUAL_BINS = 8
STRIDES = ((8, 16, 32, 64), (8, 16, 32))
"""Strides where none are stated: those of which there are as many cells."""


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    if len(outputs) == 1:
        shape = outputs[0].shape
        fits = len(shape) == 3 and shape[1] in {_boxes_of.points(hints.size, strides) for strides in _strides(hints)}
        classes = _classes_beside(shape[2], hints.classes) if fits else None
        return Match(classes) if classes else None
    flat = [output.shape[1:] if len(output.shape) == 3 else output.shape for output in outputs]
    if any(len(shape) != 2 for shape in flat):
        return None
    for strides in _strides(hints):
        counts = [_boxes_of.points(hints.size, [stride]) for stride in strides]
        scores, sides = _levels(flat, counts, hints.classes)
        if scores and sides:
            return Match(flat[scores[0]][1], (*scores, *sides))
    return None


def _strides(hints: Hints) -> tuple[tuple[int, ...], ...]:
    stated = hints.options.get("strides")
    return (tuple(stated),) if stated else STRIDES


def _classes_beside(width: int, classes: int) -> int | None:
    """Returns how many classes stand beside the bins of four sides: as many as expected, else beside the usual bins."""
    for count in (classes, width - 4 * USUAL_BINS):
        if count > 0 and (width - count) % 4 == 0 and FEWEST_BINS <= (width - count) // 4 <= MOST_BINS:
            return count
    return None


def _levels(
    shapes: Sequence[Sequence[int]], counts: Sequence[int], classes: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns which outputs are the scores and which the distances, each in the order of the feature maps."""
    widths = sorted({shape[1] for shape in shapes})
    if len(shapes) != 2 * len(counts) or len(widths) > 2:
        return (), ()
    if len(widths) == 1:
        return (), ()
    width = classes if classes in widths else next((value for value in widths if value != 4 * USUAL_BINS), 0)
    other = widths[1 - widths.index(width)] if width in widths else 0
    if other % 4 or not FEWEST_BINS <= other // 4 <= MOST_BINS:
        return (), ()
    kinds = []
    for wanted in (width, other):
        found = [place for count in counts for place, shape in enumerate(shapes) if tuple(shape) == (count, wanted)]
        kinds.append(tuple(found) if len(found) == len(counts) else ())
    return kinds[0], kinds[1]


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    half = len(outputs) // 2
    scores = [output[..., :classes] for output in (outputs[:half] or outputs)]
    for part in scores:
        reason = _evidence.of_finite(part)
        if not reason and hints.options.get("activation", "none") == "none":
            reason = _evidence.of_scores(part)
        if reason:
            return reason
    return ""


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    tensors = [behind.batched(name, shape, 3) for name, shape in zip(behind.outputs, shapes, strict=True)]
    if len(tensors) == 1:
        scores, sides = behind.split(tensors[0], [classes, shapes[0][2] - classes], 2)
        bins, cells = (shapes[0][2] - classes) // 4, shapes[0][1]
    else:
        half = len(tensors) // 2
        scores, sides = behind.joined(tensors[:half], 1), behind.joined(tensors[half:], 1)
        bins, cells = shapes[half][-1] // 4, sum(shape[-2] for shape in shapes[half:])
    strides = next(strides for strides in _strides(hints) if _boxes_of.points(hints.size, strides) == cells)
    split = behind.one("Reshape", sides, behind.constant([0, -1, 4, bins]))
    shares = behind.one("Softmax", split, axis=3)
    weighted = behind.one("Mul", shares, behind.numbers(np.arange(bins)))  # no product of matrices: RTX 20 has none
    flat = behind.one("ReduceSum", weighted, behind.constant([3]), keepdims=0)
    middle, scale = _points(behind, hints, strides)
    distances = behind.one("Mul", flat, scale)
    before, after = behind.split(distances, [2, 2], 2)
    corners = behind.one("Concat", behind.one("Sub", middle, before), behind.one("Add", middle, after), axis=2)
    boxes = _boxes_of.centres(behind, corners, "corners", 2, None)
    scores = behind.activated(scores, hints.options.get("activation"), 2)
    return behind.one("Transpose", behind.one("Concat", boxes, scores, axis=2), perm=[0, 2, 1])


def _points(behind: Behind, hints: Hints, strides: Sequence[int]) -> tuple[str, str]:
    """Returns the points of all cells in pixels, (1, cells, 2), and their strides, (1, cells, 1)."""
    offset = hints.options.get("offset", 0.5)
    if hints.largest is None:
        places, widths = (values.transpose(0, 2, 1) for values in _boxes_of.grid(hints.size, strides))
        return behind.numbers((places + offset) * widths), behind.numbers(widths)
    cells, scale = (
        behind.one("Transpose", part, perm=[0, 2, 1]) for part in _boxes_of.placed_cells(behind, hints, strides)
    )
    return behind.one("Mul", behind.one("Add", cells, behind.numbers(offset)), scale), scale
