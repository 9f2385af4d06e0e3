"""A number for each class before the softmax, as the classifiers of torchvision and timm put them out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.graphs.onnx.layouts import Hints, Match, Output, Shape, _evidence, class_probabilities
from edgecompile.graphs.onnx.layouts._nodes import Behind

ABOUT = "(n, classes): a number for each class, before the softmax"
DECODE = "probabilities"
BY_NUMBERS = True
OPTIONS = frozenset({"activation"})


def match(outputs: Sequence[Output], hints: Hints) -> Match | None:
    return class_probabilities.match(outputs, hints)


def doubt(outputs: Sequence[np.ndarray], classes: int, hints: Hints) -> str:
    if not class_probabilities.doubt(outputs, classes, hints):
        return "its numbers are probabilities already"
    return _evidence.of_finite(outputs[0])


def rewrite(behind: Behind, shapes: Sequence[Shape], classes: int, hints: Hints) -> str:
    flat = class_probabilities.rewrite(behind, shapes, classes, hints)
    return behind.activated(flat, hints.options.get("activation", "softmax"), 1)
