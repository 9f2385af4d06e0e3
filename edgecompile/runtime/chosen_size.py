"""Sizes that a prediction asks for, and those that a model takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecompile.errors import InputError
from edgecompile.runtime.spec import Spec

USUAL_STRIDE = 32
"""Pixels of which height and width chosen at run time are multiples, where a spec states no stride."""


def chosen_size(spec: Spec, imgsz: int | Sequence[int]) -> tuple[int, int]:
    """Returns height and width for a size chosen at run time.

    Raises:
        InputError: the model does not take it.
    """
    asked = tuple(imgsz) if isinstance(imgsz, (tuple, list)) else (imgsz, imgsz)
    if len(asked) != 2 or any(isinstance(side, bool) or not isinstance(side, (int, np.integer)) for side in asked):
        raise InputError(f"imgsz is {imgsz!r}, expected the side of a square or (height, width), in whole pixels")
    height, width = (int(side) for side in asked)
    low, high = spec.input.size_at("min"), spec.input.size_at("max")
    if low is None or high is None or low == high:
        if (height, width) != spec.frame.size:
            fixed = f"{spec.frame.size[0]}x{spec.frame.size[1]}"
            raise InputError(
                f"imgsz is {height}x{width}, and the bundle was built for {fixed} alone",
                fix="leave imgsz out: bundles of several sizes are built with model.dynamic.imgsz",
            )
        return spec.frame.size
    stride = int(spec.document.get("stride", USUAL_STRIDE))
    if not (low[0] <= height <= high[0] and low[1] <= width <= high[1]) or height % stride or width % stride:
        multiples = f"multiples of {stride}" if stride > 1 else "sides"
        raise InputError(
            f"imgsz is {height}x{width}, expected {multiples} from {low[0]}x{low[1]} to {high[0]}x{high[1]}"
        )
    return height, width
