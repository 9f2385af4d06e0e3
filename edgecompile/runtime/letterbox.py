"""From a picture to the model's input: brought to its size, then to its numbers and layout.

Sizes and borders are rounded as Ultralytics' `LetterBox` does, those of a cut as torchvision's `Resize` and
`CenterCrop` do. One set of buffers is reused from picture to picture.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from edgecompile.errors import InputError
from edgecompile.runtime import antialias
from edgecompile.runtime.geometry import Geometry
from edgecompile.runtime.spec import Frame, Input, Spec

INTERPOLATIONS = {
    "linear": cv2.INTER_LINEAR,
    "nearest": cv2.INTER_NEAREST,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
}
MOST_SCALED = 64 << 20
"""Pixels of a scaled picture that is cut: a line of one pixel would become gigabytes."""


def fit(source: tuple[int, int], frame: Frame) -> Geometry:
    """Returns where a picture of `source` (height, width) stands in `frame`.

    The odd pixel of a border goes below and to the right: `round(x - 0.1)` of the half goes before. Of a cut, half of
    what is too long goes before, rounded to the even number.
    """
    source = (int(source[0]), int(source[1]))
    if frame.resize == "stretch":
        return Geometry(source, frame.size, 0, 0)
    if frame.resize == "crop":
        height, width = _covering(source, frame)
        cut = ((height - frame.size[0]) / 2, (width - frame.size[1]) / 2) if frame.center else (0, 0)
        return Geometry(source, (height, width), -round(cut[0]), -round(cut[1]))
    ratio = min(frame.size[0] / source[0], frame.size[1] / source[1])
    if not frame.scale_up:
        ratio = min(ratio, 1.0)
    height, width = max(round(source[0] * ratio), 1), max(round(source[1] * ratio), 1)
    top = round((frame.size[0] - height) / 2 - 0.1) if frame.center else 0
    left = round((frame.size[1] - width) / 2 - 0.1) if frame.center else 0
    return Geometry(source, (height, width), top, left)


def _covering(source: tuple[int, int], frame: Frame) -> tuple[int, int]:
    """Returns height and width of a picture that is scaled in proportion until it covers the frame."""
    height, width = source
    if frame.shortest is not None:
        short = min(source)
        return int(frame.shortest * height / short), int(frame.shortest * width / short)
    if frame.size[0] * width >= frame.size[1] * height:  # all of its height is seen
        return frame.size[0], max(int(frame.size[0] * width / height), frame.size[1])
    return max(int(frame.size[1] * height / width), frame.size[0]), frame.size[1]


class Letterbox:
    """Puts pictures into one frame, which is overwritten by the next."""

    def __init__(self, frame: Frame, canvas: np.ndarray | None = None, channels: int = 3) -> None:
        """Uses `canvas`, uint8 (height, width, channels), as the frame; allocates a frame where None."""
        self._frame = frame
        self._interpolation = INTERPOLATIONS.get(frame.interpolation, cv2.INTER_LINEAR)
        self._kernel = antialias.KERNELS.get(frame.interpolation)
        self.canvas = np.empty((*frame.size, channels), np.uint8) if canvas is None else canvas
        self.canvas[:] = frame.fill
        self._geometry: Geometry | None = None

    def place(self, image: np.ndarray) -> Geometry:
        """Puts a picture, uint8 (h, w, channels), into the frame."""
        geometry = self._geometry
        if geometry is None or geometry.source != image.shape[:2]:
            geometry = fit(image.shape[:2], self._frame)
            self.canvas[:] = self._frame.fill  # pictures of one size leave the border as it is
            self._geometry = geometry
        if self._frame.resize == "crop":
            self._cut(image, geometry)
            return geometry
        (height, width), top, left = geometry.scaled, geometry.top, geometry.left
        inside = self.canvas[top : top + height, left : left + width]
        if geometry.scaled == geometry.source:
            inside[:] = image
        elif self._kernel:
            inside[:] = antialias.resize(image, geometry.scaled, self._kernel)
        else:
            source, target = (image, inside) if image.shape[2] > 1 else (image[..., 0], inside[..., 0])
            cv2.resize(source, (width, height), dst=target, interpolation=self._interpolation)
        return geometry

    def _cut(self, image: np.ndarray, geometry: Geometry) -> None:
        """Fills the frame with the part of a scaled picture that it shows."""
        (height, width), top, left = geometry.scaled, -geometry.top, -geometry.left
        rows, columns = self._frame.size
        if geometry.scaled == geometry.source:
            self.canvas[:] = image[top : top + rows, left : left + columns]
        elif self._kernel:
            window = (rows, columns)
            self.canvas[:] = antialias.resize(image, geometry.scaled, self._kernel, top=top, left=left, window=window)
        elif height * width > MOST_SCALED:
            raise InputError(f"a picture of {image.shape[0]}x{image.shape[1]} is too long and narrow to be cut")
        else:
            scaled = cv2.resize(image, (width, height), interpolation=self._interpolation)
            self.canvas[:] = scaled.reshape(height, width, -1)[top : top + rows, left : left + columns]


class Preprocessor:
    """Fills the input tensor of a model with pictures."""

    def __init__(self, spec: Spec, batch: int = 1, size: tuple[int, int] | None = None) -> None:
        """Makes buffers for `batch` pictures of height and width `size`, the spec's where None.

        Attributes:
            tensor: the input, uint8 or float32, NCHW or NHWC; overwritten by the next pictures.
        """
        frame = spec.frame if size is None else replace(spec.frame, size=size)
        entry, (height, width) = spec.input, frame.size
        channels = entry.channels
        sides = (channels, height, width) if entry.layout == "NCHW" else (height, width, channels)
        self.tensor = np.empty((batch, *sides), entry.dtype)
        direct = entry.dtype == "uint8" and entry.layout == "NHWC" and entry.color != "RGB"
        self._frames = [Letterbox(frame, self.tensor[slot] if direct else None, channels) for slot in range(batch)]
        self._convert = None if direct else _converter(entry, (height, width))
        for slot in range(batch):
            self._finish(slot)

    def place(self, slot: int, image: np.ndarray) -> Geometry:
        """Puts a picture, uint8 (h, w, channels) in the order of OpenCV, into one slot of the tensor."""
        geometry = self._frames[slot].place(image)
        self._finish(slot)
        return geometry

    def _finish(self, slot: int) -> None:
        if self._convert:
            self._convert(self._frames[slot].canvas, self.tensor[slot])


def tensor_of(spec: Spec, picture: np.ndarray) -> np.ndarray:
    """Returns a picture as the input of a model: of one picture, or of as many as its shape states, all the same."""
    preprocessor = Preprocessor(spec, max(spec.input.batches[0], 1))
    for slot in range(len(preprocessor.tensor)):
        preprocessor.place(slot, picture)
    return preprocessor.tensor


def _converter(entry: Input, size: tuple[int, int]):
    """Returns a function (canvas, tensor) that brings a picture to the layout, color and numbers of an input.

    A byte has 256 values, so scaling is a table of 256 numbers for each channel: exact (v / 255 to the last bit, as
    Ultralytics divides), and one pass over the pixels whatever mean and std are.
    """
    table = ((np.arange(256)[:, None] * entry.scale - np.array(entry.mean)) / np.array(entry.std)).astype(np.float32)
    reverse = entry.color == "RGB"
    if entry.layout == "NHWC":
        swapped = np.empty((*size, entry.channels), np.uint8)
        interleaved = np.ascontiguousarray(table[None])

        def to_nhwc(canvas: np.ndarray, tensor: np.ndarray) -> None:
            if entry.dtype == "uint8":
                cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB, dst=tensor)
                return
            pixels = cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB, dst=swapped) if reverse else canvas
            cv2.LUT(pixels, interleaved, tensor)

        return to_nhwc

    columns = [np.ascontiguousarray(table[:, channel]) for channel in range(entry.channels)]
    planes = np.empty((entry.channels, *size), np.uint8)

    def to_nchw(canvas: np.ndarray, tensor: np.ndarray) -> None:
        bytes_of = tensor if entry.dtype == "uint8" else planes
        cv2.split(canvas, [bytes_of[2], bytes_of[1], bytes_of[0]] if reverse else list(bytes_of))
        if entry.dtype != "uint8":
            for channel in range(entry.channels):
                cv2.LUT(planes[channel], columns[channel], tensor[channel])

    return to_nchw
