"""Sources of pictures: paths, arrays, PIL images, a camera; and how each becomes a BGR array.

Arrays and PIL images are read as Ultralytics reads them: gray becomes three equal channels, alpha is dropped, of 16
bits the upper 8 remain, and a PIL image is turned as its EXIF says and brought from RGB to BGR. For a model of grey
pictures, colour becomes grey; for a model of four channels, a picture has four.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import cv2
import numpy as np

from edgecompile.errors import InputError
from edgecompile.runtime.network_address import is_address, masked
from edgecompile.runtime.pictures import decode_picture, find_pictures, read_picture
from edgecompile.runtime.videos import Video, is_video


class PilImage(Protocol):
    """The used part of PIL's image class, which the runtime does not import."""

    mode: str

    def convert(self, mode: str) -> PilImage:
        """Returns the image in another mode."""

    def transpose(self, method: int) -> PilImage:
        """Returns the image turned or mirrored."""

    def getexif(self) -> Mapping[int, Any]:
        """Returns the EXIF tags by number."""


Picture = str | Path | bytes | bytearray | memoryview | np.ndarray | PilImage
BYTES = (bytes, bytearray, memoryview)
EXPECTED = "a path, the bytes of a picture file, a uint8 array (height, width, 3) in BGR order, or a PIL image"
ORIENTATION = 0x0112
"""EXIF tag that says how a picture is to be turned."""
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation to the number of PIL's `Transpose` that undoes it."""


def as_picture(image: Picture, channels: int = 3) -> np.ndarray:
    """Returns a picture as contiguous uint8 (height, width, channels), blue green red (alpha), or grey.

    Args:
        channels: that the model takes: 1, 3 or 4.

    Raises:
        InputError: the file cannot be read, or it is no picture in memory.
    """
    if isinstance(image, (str, Path)):
        if is_address(image):
            fix = "model.stream(address) takes streams; a picture is downloaded first, and its bytes given"
            raise InputError("an address on the network is no picture", where=masked(str(image)), fix=fix)
        return read_picture(image, channels)
    if isinstance(image, BYTES):
        return decode_picture(bytes(image), "the picture in memory", channels)
    return as_array(_from_pil(image, channels) if _is_pil(image) else image, channels)


def as_array(image: Any, channels: int = 3) -> np.ndarray:
    """Returns an array as contiguous uint8 (height, width, channels); gray, alpha and 16 bits are converted.

    Raises:
        InputError: it is no picture.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(f"a picture must be {EXPECTED}, not {_kind(image)}")
    if image.dtype.kind != "u" or image.dtype.itemsize > 2:
        fix = "(255 * image).round().astype('uint8') where its values are 0..1" if image.dtype.kind == "f" else ""
        raise InputError(f"a picture must be {EXPECTED}, not {_kind(image)}", fix=fix)
    sides = image.shape[2:] or (1,)
    if image.ndim == 4:
        fix = "give a batch to predict_batch or stream"
        raise InputError(f"a picture in memory has shape (height, width, 3), not {tuple(image.shape)}", fix=fix)
    if image.ndim not in (2, 3) or sides[0] not in (1, 2, 3, 4) or not image.size:
        raise InputError(f"a picture in memory has shape (height, width, 3), not {tuple(image.shape)}")
    if image.dtype != np.uint8:
        image = (image >> 8).astype(np.uint8)
    image = image if image.ndim == 3 else image[..., None]
    return with_channels(image[..., :1] if sides[0] == 2 else image, channels)  # of gray and alpha, gray


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Returns a picture of 1, 3 or 4 channels as one of `channels`.

    Raises:
        InputError: it has no fourth channel, which the model takes.
    """
    count = image.shape[2]
    if count == channels:
        return np.ascontiguousarray(image)
    if channels == 4:
        raise InputError(f"the picture has {count} channels, the model takes 4: blue, green, red, alpha")
    if channels == 1:
        gray = cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY if count == 4 else cv2.COLOR_BGR2GRAY)
        return gray[..., None]
    if count == 1:
        return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image[..., :3])


def pictures_of(images: Any) -> Iterable[Picture]:
    """Returns the pictures that `images` stands for, one by one.

    Args:
        images: a path, a pattern or a folder; one picture in memory, or an array (n, height, width, 3) of several; a
            video file, the number of a camera, the address of a stream; an open `cv2.VideoCapture`; or anything that
            gives pictures, such as a list or a generator.

    Raises:
        InputError: it is none of these, the paths name no picture, or the capture is not open.
    """
    if type(images) is int or is_address(images) or (isinstance(images, (str, Path)) and is_video(images)):
        return (frame for _, frame in Video(images))
    if isinstance(images, (str, Path)):
        return find_pictures([images])
    if isinstance(images, BYTES) or _is_pil(images) or (isinstance(images, np.ndarray) and images.ndim != 4):
        return [images]
    if is_capture(images):
        return frames_of(images)
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise InputError(f"pictures must be {EXPECTED}, or several of these, not {_kind(images)}")
    return images


def may_never_end(images: Any) -> bool:
    """Returns whether `images` is a camera or a stream."""
    return type(images) is int or is_address(images) or is_capture(images)


def is_capture(images: Any) -> bool:
    """Returns whether `images` is an OpenCV capture, or behaves like a capture."""
    return callable(getattr(images, "isOpened", None)) and callable(getattr(images, "read", None))


def frames_of(capture: Any) -> Iterator[np.ndarray]:
    """Returns the frames of a capture to its end. The capture stays open: it belongs to the caller.

    Raises:
        InputError: it is not open, or gives no frame at all.
    """
    if not capture.isOpened():
        raise InputError("the capture is not open: there is no such camera or file, or OpenCV cannot read it")

    def frames() -> Iterator[np.ndarray]:
        given, frame = capture.read()
        if not given:
            raise InputError("the capture gives no frame", fix="is it at its end, or the camera in use elsewhere?")
        while given:
            yield frame
            given, frame = capture.read()

    return frames()


def _is_pil(image: Any) -> TypeGuard[PilImage]:
    """Returns whether `image` is a PIL image. A caller with such an image has imported PIL; the runtime never does."""
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(image, pil.Image)


def _from_pil(image: PilImage, channels: int) -> np.ndarray:
    """Returns a PIL image as an array in OpenCV's order, turned as its EXIF says.

    Raises:
        InputError: PIL cannot decode it.
    """
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
        turned = image if turn is None else image.transpose(turn)
        if turned.mode.startswith("I;16"):
            return np.asarray(turned)
        if channels == 1:
            return np.asarray(turned.convert("L"))
        if channels == 4:
            return np.asarray(turned.convert("RGBA"))[..., [2, 1, 0, 3]]
        return np.asarray(turned.convert("RGB"))[..., ::-1]
    except (OSError, ValueError, SyntaxError) as error:  # PIL decodes late, so a damaged file shows here
        raise InputError(f"the PIL image cannot be read: {error}") from error


def _kind(image: Any) -> str:
    return f"a {image.dtype} array" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
