from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from edgecompile.errors import RecipeError
from edgecompile.runtime.letterbox import Letterbox, Preprocessor, fit
from edgecompile.runtime.spec import Frame, read_spec

from .tiny import photo, tiny_spec

FRAME = Frame((320, 320), 114, True, True, "linear")
ODD = [(1, 1), (1, 3000), (3000, 1), (319, 321), (320, 320), (321, 319), (641, 640), (333, 500), (500, 333), (7, 11)]


def sizes(count: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(11)
    return [tuple(int(side) for side in rng.integers(1, 1400, 2)) for _ in range(count)]


def theirs(ultralytics: Any, image: np.ndarray, frame: Frame) -> np.ndarray:
    from ultralytics.data.augment import LetterBox

    box = LetterBox(frame.size, center=frame.center, scaleup=frame.scale_up, padding_value=frame.fill)
    return box(image=image)


@pytest.mark.slow
@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        replace(FRAME, size=(480, 640)),
        replace(FRAME, size=(96, 224)),
        replace(FRAME, center=False),
        replace(FRAME, scale_up=False),
        replace(FRAME, fill=0),
    ],
)
def test_equals_ultralytics(ultralytics: Any, frame: Frame) -> None:
    letterbox = Letterbox(frame)
    for size in ODD + sizes(60):
        image = photo(*size)
        letterbox.place(image)
        assert np.array_equal(letterbox.canvas, theirs(ultralytics, image, frame)), size


def test_the_comparison_would_see_a_border_rounded_otherwise(ultralytics: Any) -> None:
    image = photo(319, 640)  # 319 / 2 leaves an odd border: 80 above, 81 below
    letterbox = Letterbox(FRAME)
    letterbox.place(image)
    right = theirs(ultralytics, image, FRAME)
    assert not np.array_equal(np.roll(letterbox.canvas, 1, axis=0), right)
    assert np.array_equal(letterbox.canvas, right)


def test_nothing_of_the_picture_before_remains() -> None:
    letterbox = Letterbox(FRAME)
    letterbox.place(photo(640, 320))
    letterbox.place(photo(320, 640))
    fresh = Letterbox(FRAME)
    fresh.place(photo(320, 640))
    assert np.array_equal(letterbox.canvas, fresh.canvas)
    assert (letterbox.canvas[:80] == 114).all()


def test_boxes_come_back_as_ultralytics_brings_them_back(ultralytics: Any) -> None:
    import torch
    from ultralytics.utils.ops import scale_boxes

    rng = np.random.default_rng(4)
    for size in ODD + sizes(200):
        boxes = (rng.random((20, 4)) * 360 - 20).astype(np.float32)
        wanted = scale_boxes(FRAME.size, torch.from_numpy(boxes.copy()), size).numpy()
        assert np.array_equal(fit(size, FRAME).restore(boxes), wanted), size


def test_boxes_are_clipped_only_when_asked() -> None:
    boxes = np.array([[-10, -10, 330, 330]], np.float32)
    geometry = fit((320, 320), FRAME)
    assert geometry.restore(boxes.copy(), clip=False).tolist() == boxes.tolist()
    assert geometry.restore(boxes.copy()).tolist() == [[0, 0, 320, 320]]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize("numbers", ["bytes", "unit", "imagenet"])
def test_the_tensor_is_in_the_order_and_numbers_that_the_spec_says(layout: str, color: str, numbers: str) -> None:
    document = tiny_spec()
    entry = {"layout": layout, "color": color, "shape": [2, 3, 64, 96] if layout == "NCHW" else [2, 64, 96, 3]}
    if numbers == "bytes":
        entry.update(dtype="uint8", scale=1)
    if numbers == "imagenet":
        entry.update(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    spec = read_spec({**document, "input": {**document["input"], **entry}})
    preprocessor = Preprocessor(spec, 2)
    images = [photo(70, 40, 1), photo(33, 99, 2)]
    for slot, image in enumerate(images):
        preprocessor.place(slot, image)
        letterbox = Letterbox(spec.frame)
        letterbox.place(image)
        pixels = letterbox.canvas if color == "BGR" else letterbox.canvas[..., ::-1]
        if numbers != "bytes":
            pixels = (pixels / 255 - np.array(spec.input.mean)) / np.array(spec.input.std)
        wanted = pixels.transpose(2, 0, 1) if layout == "NCHW" else pixels
        found = preprocessor.tensor[slot]
        assert found.dtype == (np.uint8 if numbers == "bytes" else np.float32)
        assert np.abs(found - wanted).max() <= (0 if numbers == "bytes" else 3e-7)


def test_scaling_divides_to_the_last_bit_as_ultralytics_does() -> None:
    preprocessor = Preprocessor(read_spec(tiny_spec()))
    image = photo(64, 96)
    preprocessor.place(0, image)
    wanted = image[..., ::-1].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    assert np.array_equal(preprocessor.tensor[0], wanted)


def test_a_slot_that_was_not_filled_is_border() -> None:
    preprocessor = Preprocessor(read_spec(tiny_spec(batch=3)), 3)
    preprocessor.place(1, photo(64, 96))
    assert np.unique(preprocessor.tensor[[0, 2]]).tolist() == [np.float32(114) / np.float32(255)]


def test_embedded_preprocessing_needs_no_second_buffer() -> None:
    preprocessor = Preprocessor(read_spec(tiny_spec(embedded=True)))
    image = photo(64, 96)
    preprocessor.place(0, image)
    assert np.array_equal(preprocessor.tensor[0], image)


def test_a_stretched_picture_fills_the_frame_and_boxes_come_back() -> None:
    letterbox = Letterbox(replace(FRAME, size=(64, 96), resize="stretch"))
    image = photo(50, 300)
    geometry = letterbox.place(image)
    assert np.array_equal(letterbox.canvas, cv2.resize(image, (96, 64), interpolation=cv2.INTER_LINEAR))
    boxes = np.array([[0, 0, 96, 64], [48, 32, 96, 64]], np.float32)
    assert geometry.restore(boxes).tolist() == [[0, 0, 300, 50], [150, 25, 300, 50]]


@pytest.mark.parametrize("interpolation", ["linear", "antialias"])
@pytest.mark.parametrize("shortest", [None, 73])
def test_a_cut_picture_covers_the_frame_and_boxes_come_back(interpolation: str, shortest: int | None) -> None:
    frame = replace(FRAME, size=(64, 64), resize="crop", interpolation=interpolation, shortest=shortest)
    for size in [(100, 200), (200, 100), (64, 64), (31, 47), (300, 97)]:
        letterbox = Letterbox(frame)
        geometry = letterbox.place(photo(*size))
        assert min(geometry.scaled) == (shortest or 64)
        whole = np.array([[0, 0, size[1], size[0]]], np.float32)
        factors = [geometry.scaled[1] / size[1], geometry.scaled[0] / size[0]]
        placed = np.array(whole * (factors * 2) + [geometry.left, geometry.top] * 2, np.float32)
        assert np.allclose(geometry.restore(placed), whole, atol=1e-3)
        top_left = fit(size, replace(frame, center=False))
        assert (top_left.top, top_left.left) == (0, 0)
        assert geometry.top + geometry.left < 0 or geometry.scaled == (64, 64)


def test_a_cut_is_that_of_classifiers() -> None:
    """Pillow's antialiased scaling of the shortest side, then the middle; as torchvision rounds."""
    image = pytest.importorskip("PIL.Image")
    frame = replace(FRAME, size=(64, 64), resize="crop", interpolation="antialias")
    for height, width in [(99, 200), (201, 97), (64, 131), (480, 640)]:
        picture = photo(height, width)
        letterbox = Letterbox(frame)
        letterbox.place(picture)
        short = min(height, width)
        size = (64, int(64 * width / short)) if height == short else (int(64 * height / short), 64)
        scaled = np.asarray(image.fromarray(picture).resize(size[::-1], image.Resampling.BILINEAR))
        top, left = round((size[0] - 64) / 2.0), round((size[1] - 64) / 2.0)
        assert np.array_equal(letterbox.canvas, scaled[top : top + 64, left : left + 64]), (height, width)


def test_a_line_that_would_become_gigabytes_is_refused() -> None:
    frame = replace(FRAME, resize="crop")
    with pytest.raises(RecipeError, match="too long and narrow"):
        Letterbox(frame).place(np.zeros((1, 3000, 3), np.uint8))
    Letterbox(replace(frame, interpolation="antialias")).place(np.zeros((1, 3000, 3), np.uint8))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("color", "channels"), [("GRAY", 1), ("BGRA", 4)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("interpolation", ["linear", "antialias"])
def test_other_numbers_of_channels(layout: str, color: str, channels: int, dtype: str, interpolation: str) -> None:
    document = tiny_spec()
    shape = [1, channels, 64, 96] if layout == "NCHW" else [1, 64, 96, channels]
    entry = {
        "layout": layout,
        "color": color,
        "shape": shape,
        "dtype": dtype,
        "scale": 1 if dtype == "uint8" else 1 / 255,
    }
    entry |= {"mean": [0] * channels, "std": [1] * channels}
    frame = {**document["letterbox"], "interpolation": interpolation}
    spec = read_spec({**document, "input": {**document["input"], **entry}, "letterbox": frame})
    image = np.random.default_rng(0).integers(0, 256, (70, 40, channels), dtype=np.uint8)
    preprocessor = Preprocessor(spec)
    preprocessor.place(0, image)
    letterbox = Letterbox(spec.frame, channels=channels)
    letterbox.place(image)
    wanted = letterbox.canvas / 255 if dtype == "float32" else letterbox.canvas
    found = preprocessor.tensor[0]
    assert np.abs((found.transpose(1, 2, 0) if layout == "NCHW" else found) - wanted).max() <= 3e-7
    for channel in range(channels):  # each channel as if it were alone
        alone = Letterbox(spec.frame, channels=1)
        alone.place(np.ascontiguousarray(image[..., channel : channel + 1]))
        assert np.array_equal(alone.canvas[..., 0], letterbox.canvas[..., channel])
