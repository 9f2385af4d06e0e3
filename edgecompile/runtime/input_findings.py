"""How a program's own pre-processing differs from a bundle's, by the tensor that it makes of one picture.

Each way in which programs are known to differ (colour order, layout, scale, letterbox, border, interpolation, batch
axis) is tried on the bundle's own pre-processing, and pairs of them; the one that gives the tensor is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from edgecompile.runtime.finding import Finding
from edgecompile.runtime.letterbox import Preprocessor
from edgecompile.runtime.spec import Frame, Spec

EQUAL = 0.002
"""Mean difference, as a share of the span of the bundle's tensor, up to which two tensors are the same: half a level of
256, by which roundings differ."""
NEAR = 0.02
"""The same, up to which they differ in nothing but how pixels are interpolated."""
LARGEST_TRIED = 2
"""Differences that are tried together."""


@dataclass(frozen=True)
class Change:
    """A way to differ. `of_frame` changes how a picture is brought to its size, `of_numbers` the numbers behind that.
    No two of one `kind` go together."""

    kind: str
    title: str
    of_frame: Callable[[Frame], Frame] = lambda frame: frame
    of_numbers: Callable[[np.ndarray], np.ndarray] = lambda numbers: numbers


def judge_input(tensor: np.ndarray, picture: np.ndarray, spec: Spec) -> list[Finding]:
    """Returns how a tensor differs from what the bundle makes of a picture; nothing where it does not.

    Args:
        tensor: the input that a program gives the model, with or without the axis of the batch.
        picture: of which it was made, uint8 (height, width, channels), in OpenCV's order.
        spec: of the bundle.
    """
    if not tensor.size or tensor.dtype.kind not in "fiu":
        return [_finding("odd", f"it holds {tensor.dtype} {list(tensor.shape)}, and no numbers of a picture")]
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        return [_finding("not_finite", "it holds numbers that are not finite")]
    expected = _prepared(picture, spec, spec.frame)
    given = tensor.astype(np.float64)
    remarks = [f"no axis of the batch: {list(tensor.shape)}"] if tensor.ndim == expected.ndim - 1 else []
    given = given[None] if remarks else given
    if spec.input.dtype == "uint8" and tensor.dtype != np.uint8:
        remarks.append(f"{tensor.dtype} instead of uint8: the model scales by itself")
    known = _named_difference(given, picture, spec)
    if known is None:
        shown = f"{list(tensor.shape)} from {given.min():.3g} to {given.max():.3g}"
        own = f"{list(expected.shape)} from {expected.min():.3g} to {expected.max():.3g}"
        words = [f"in more than the usual ways: it is {shown}, the bundle's {own}"]
    else:
        words = [change.title for change in known]
    return [_finding("input", "; ".join([*words, *remarks]))] if words or remarks else []


def _finding(cause: str, evidence: str) -> Finding:
    fix = "prepare pictures as spec.json says (input and letterbox), or let the bundle do it: embed the pre-processing"
    return Finding("results", f"preprocessing_{cause}", "another pre-processing", evidence, fix)


def _named_difference(given: np.ndarray, picture: np.ndarray, spec: Spec) -> tuple[Change, ...] | None:
    """Returns the fewest changes that turn the bundle's tensor into the given one; None where none do."""
    changes = list(_changes(spec))
    best: tuple[float, tuple[Change, ...]] = (np.inf, ())
    for count in range(LARGEST_TRIED + 1):
        for chosen in combinations(changes, count):
            if len({change.kind for change in chosen}) < count:
                continue
            distance = _distance(given, _changed(picture, spec, chosen))
            best = min(best, (distance, chosen), key=lambda one: one[0])
        if best[0] <= EQUAL:
            return best[1]
    if best[0] <= NEAR:
        return (
            *best[1],
            Change("interpolation", "pixels are interpolated in another way (cv2.INTER_LINEAR is expected)"),
        )
    return None


def _changed(picture: np.ndarray, spec: Spec, changes: tuple[Change, ...]) -> np.ndarray:
    frame = spec.frame
    for change in changes:
        frame = change.of_frame(frame)
    numbers = _prepared(picture, spec, frame)
    for change in changes:
        numbers = change.of_numbers(numbers)
    return numbers


def _distance(given: np.ndarray, expected: np.ndarray) -> float:
    """Returns the mean difference as a share of the span of the expected numbers; infinity for another shape."""
    if given.shape != expected.shape:
        return float("inf")
    return float(np.abs(given - expected).mean() / (np.ptp(expected) or 1.0))


def _prepared(picture: np.ndarray, spec: Spec, frame: Frame) -> np.ndarray:
    preprocessor = Preprocessor(replace(spec, frame=frame), max(spec.input.batches[0], 1))
    preprocessor.place(0, picture)
    return preprocessor.tensor[:1].astype(np.float64)


def _changes(spec: Spec) -> Iterator[Change]:
    entry, frame = spec.input, spec.frame
    last = entry.layout == "NHWC"
    axis = -1 if last else 1
    if entry.channels == 3:
        other = "BGR" if entry.color == "RGB" else "RGB"
        yield Change("colour", f"channels are in the order {other} instead of {entry.color}", of_numbers=_flipped(axis))
    turned = "NCHW" if last else "NHWC"
    moved = (0, 3, 1, 2) if last else (0, 2, 3, 1)
    yield Change("layout", f"{turned} instead of {entry.layout}", of_numbers=lambda one: one.transpose(moved))
    if entry.dtype != "uint8":
        unscaled = f"pixels from 0 to 255 instead of times {entry.scale:.4g}"
        yield Change("scale", unscaled, of_numbers=lambda one: one / entry.scale)
    yield Change("scale", "pixels are divided by 255, and the model does that itself", of_numbers=lambda one: one / 255)
    yield Change(
        "scale", "pixels from -1 to 1", of_numbers=lambda one: one * (2 * (255 if entry.scale == 1 else 1)) - 1
    )
    if frame.resize != "stretch":
        yield Change("frame", "stretched instead of letterboxed", of_frame=lambda one: replace(one, resize="stretch"))
    if frame.resize != "letterbox":
        yield Change(
            "frame", f"letterboxed instead of {frame.resize}", of_frame=lambda one: replace(one, resize="letterbox")
        )
    if frame.resize == "letterbox":
        side = (
            "at the top left instead of in the middle" if frame.center else "in the middle instead of at the top left"
        )
        yield Change("place", f"the picture stands {side}", of_frame=lambda one: replace(one, center=not one.center))
        for fill in (0, 114, 127, 128, 255):
            if fill != frame.fill:
                yield Change("fill", f"the border is {fill} instead of {frame.fill}", of_frame=_filled(fill))


def _flipped(axis: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda numbers: np.flip(numbers, axis)


def _filled(fill: int) -> Callable[[Frame], Frame]:
    return lambda frame: replace(frame, fill=fill)
