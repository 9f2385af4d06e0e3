"""Masks of objects, from the plane of numbers that prototypes and coefficients give: above 0 is the object.

Pixels are those of Ultralytics' `predict` with `retina_masks=True`: numbers are interpolated to the size of the picture
before they are compared with 0, and an object ends at its box. What is kept of a mask is the part of its plane around
the box, a quarter of a byte for each pixel of the model's input; pixels are made when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import NamedTuple

import cv2
import numpy as np

from edgecompile.runtime.geometry import Geometry
from edgecompile.runtime.tasks import OutputError, _run_lengths

RATIO = 4
"""Pixels of the model's input for each number of a plane, along each side."""
MARGIN = 2
"""Numbers of the plane kept around a box: interpolation reads beyond it."""
AT_ONCE = 16
"""Objects whose whole planes are in memory at a time."""
BAND = 1 << 18
"""Pixels interpolated at a time: bounds the memory for large pictures."""


class Taps(NamedTuple):
    """For each of some pixels along a side, the two numbers it lies between and how near it is to the second."""

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray

    def after(self, start: int) -> Taps:
        """Returns the taps into numbers of which those before `start` are left out."""
        return Taps(self.first - start, self.second - start, self.weight)

    def held(self, count: int) -> Taps:
        """Returns the taps into `count` numbers; beyond them, the outermost counts."""
        return Taps(self.first.clip(0, count - 1), self.second.clip(0, count - 1), self.weight)

    @property
    def span(self) -> slice:
        """The numbers that are read."""
        return slice(int(self.first.min()), int(self.second.max()) + 1)


def taps(begin: int, end: int, pixels: int, numbers: int) -> Taps:
    """Returns the taps of the pixels `begin` to `end`, of as many pixels as lie over `numbers` numbers: centres on
    centres, in the single precision of torch, whose `interpolate` Ultralytics calls."""
    scale = np.float32(numbers) / np.float32(pixels)
    places = np.maximum(scale * (np.arange(begin, end, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    first = np.minimum(places.astype(np.int64), numbers - 1)
    return Taps(first, np.minimum(first + 1, numbers - 1), (places - first).astype(np.float32))


def between(numbers: np.ndarray, rows: Taps, columns: Taps) -> np.ndarray:
    """Returns the numbers at the taps of rows and columns."""
    numbers = numbers[rows.span]
    rows = rows.after(rows.span.start)
    across = numbers[:, columns.first] * (1 - columns.weight) + numbers[:, columns.second] * columns.weight
    weight = rows.weight[:, None]
    return across[rows.first] * (1 - weight) + across[rows.second] * weight


@dataclass(frozen=True)
class Plane:
    """How the planes of a picture's masks lie over it.

    Attributes:
        shape: height and width of the planes.
        geometry: where the picture stands in the model's input.
    """

    shape: tuple[int, int]
    geometry: Geometry

    @cached_property
    def factor(self) -> int:
        """How much finer the plane is made before the picture is cut out of it, so that this is a whole number of
        pixels: 1, 2 or 4."""
        sides = (*self.geometry.scaled, self.geometry.top, self.geometry.left)
        return next(factor for factor in (1, 2, RATIO) if not any(side % (RATIO // factor) for side in sides))

    def taps(self, axis: int, begin: int, end: int) -> Taps:
        """Returns the taps of the picture's pixels into the finer plane.

        Args:
            axis: 0 for rows, 1 for columns.
        """
        source, scaled = self.geometry.source[axis], self.geometry.scaled[axis]
        offset = (self.geometry.top, self.geometry.left)[axis] * self.factor // RATIO
        found = taps(begin, end, source, scaled * self.factor // RATIO)
        return found.after(-offset).held(self.shape[axis] * self.factor)


@dataclass(frozen=True, eq=False)
class Mask:
    """The mask of one object.

    Attributes:
        plane: that of the picture.
        numbers: float32, the part of the object's plane around its box.
        corner: row and column of the plane where that part begins.
        box: float32 (4,) x1, y1, x2, y2 in pixels of the picture.
        input_box: the same in pixels of the model's input.
    """

    plane: Plane
    numbers: np.ndarray
    corner: tuple[int, int]
    box: np.ndarray
    input_box: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.plane.geometry.source

    @property
    def frame(self) -> tuple[int, int, int, int]:
        """The pixels of the picture whose corner lies in the box: first row and column, and those behind the last."""
        return _inside(self.box, self.size)

    def pixels(self) -> np.ndarray:
        """Returns bool (height, width), at the size of the picture."""
        whole = np.zeros(self.size, bool)
        top, left, bottom, right = self.frame
        whole[top:bottom, left:right] = self.window()
        return whole

    def window(self) -> np.ndarray:
        """Returns the pixels of `frame`, bool."""
        return self._window(*self.frame)

    def on_plane(self) -> np.ndarray:
        """Returns the mask at the size of the plane, bool: as validation compares masks, not interpolated."""
        whole = np.zeros(self.plane.shape, bool)
        top, left, bottom, right = _inside(self.input_box * np.float32(1 / RATIO), self.plane.shape)
        (row, column), numbers = self.corner, self.numbers
        whole[top:bottom, left:right] = numbers[top - row : bottom - row, left - column : right - column] > 0
        return whole

    def polygons(self) -> list[np.ndarray]:
        """Returns the outer border of each part of the mask, int32 (k, 2), x and y of pixels. Holes are not in them."""
        top, left, _, _ = self.frame
        return contours(self.window(), (left, top))

    def runs(self) -> str:
        """Returns the mask as COCO writes it, see `_run_lengths`."""
        top, left, _, _ = self.frame
        return _run_lengths.encode(self.window(), top, left, self.size)

    def is_empty(self) -> bool:
        """Whether no pixel of the picture belongs to the object. Most often, those around the largest number tell."""
        if not self.numbers.size or self.numbers.max() <= 0:
            return True
        place = np.unravel_index(int(self.numbers.argmax()), self.numbers.shape)
        (top, bottom), (left, right) = (self._near(axis, int(at)) for axis, at in enumerate(place))
        if self._window(top, left, bottom, right).any():
            return False
        return not self.window().any()

    def _near(self, axis: int, place: int) -> tuple[int, int]:
        """Returns where the pixels of `frame` near a number begin and end, along one axis."""
        geometry, frame = self.plane.geometry, self.frame
        unit = geometry.source[axis] / geometry.scaled[axis]
        first = ((place + self.corner[axis]) * RATIO - (geometry.top, geometry.left)[axis]) * unit
        begin = max(int(first - RATIO * unit), frame[axis])
        return begin, max(begin, min(int(first + 2 * RATIO * unit) + 1, frame[axis + 2]))

    def _window(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """Returns the pixels of a part of `frame`, bool."""
        window = np.zeros((max(bottom - top, 0), max(right - left, 0)), bool)
        if not window.size or not self.numbers.size:
            return window
        columns = self.plane.taps(1, left, right)
        step = max(BAND // (right - left), 1)
        for begin in range(top, bottom, step):
            end = min(begin + step, bottom)
            np.greater(
                self._numbers_at(self.plane.taps(0, begin, end), columns), 0, out=window[begin - top : end - top]
            )
        return window

    def _numbers_at(self, rows: Taps, columns: Taps) -> np.ndarray:
        """Returns the numbers at taps into the finer plane."""
        factor, shape = self.plane.factor, self.plane.shape
        if factor == 1:
            return self._coarse(rows, columns)
        finer = (
            taps(along.span.start, along.span.stop, side * factor, side)
            for along, side in zip((rows, columns), shape, strict=True)
        )
        return between(self._coarse(*finer), *(along.after(along.span.start) for along in (rows, columns)))

    def _coarse(self, rows: Taps, columns: Taps) -> np.ndarray:
        """Returns the numbers at taps into the plane itself."""
        places = zip((rows, columns), self.corner, self.numbers.shape, strict=True)
        return between(self.numbers, *(along.after(at).held(count) for along, at, count in places))


def masks_of(
    prototypes: np.ndarray, coefficients: np.ndarray, input_boxes: np.ndarray, boxes: np.ndarray, plane: Plane
) -> list[Mask]:
    """Returns the masks of the objects of one picture.

    Args:
        prototypes: float32 (m, height, width), of the plane's shape.
        coefficients: float32 (n, m): the plane of an object is the sum of the prototypes, so weighted.
        input_boxes: float32 (n, 4), in pixels of the model's input.
        boxes: float32 (n, 4), the same in pixels of the picture.

    Raises:
        OutputError: a plane holds numbers that are not finite.
    """
    height, width = plane.shape
    flat = prototypes.reshape(len(prototypes), -1)
    masks = []
    for begin in range(0, len(boxes), AT_ONCE):
        planes = (coefficients[begin : begin + AT_ONCE] @ flat).reshape(-1, height, width)
        for numbers, box, input_box in zip(planes, boxes[begin:], input_boxes[begin:], strict=False):
            top, left, bottom, right = _around(input_box, plane.shape)
            kept = numbers[top:bottom, left:right].copy()
            if not np.isfinite(kept).all():
                raise OutputError("numbers of masks that are not finite")
            masks.append(Mask(plane, kept, (top, left), box, input_box))
    return masks


def contours(window: np.ndarray, offset: Sequence[int] = (0, 0)) -> list[np.ndarray]:
    """Returns the outer border of each part of a mask, int32 (k, 2), x and y.

    Args:
        window: bool (h, w).
        offset: x and y of the window's first pixel.
    """
    if not window.size:
        return []
    found = cv2.findContours(window.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=tuple(offset))[0]
    return [contour.reshape(-1, 2) for contour in found]


def _inside(box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns the first row and column whose place lies in a box, and those behind the last."""
    left, top, right, bottom = map(ceil, box.tolist())
    height, width = size
    top, left = min(max(top, 0), height), min(max(left, 0), width)
    return top, left, min(max(bottom, top), height), min(max(right, left), width)


def _around(input_box: np.ndarray, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns the part of a plane that the mask of a box reads."""
    return _inside(input_box / RATIO + np.array((-MARGIN - 1, -MARGIN - 1, MARGIN, MARGIN), np.float32), shape)
