"""Calibration sees what the device will see."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from exported import pictures, simplified

from edgecompile.errors import RecipeError

pytest.importorskip("onnx")

from edgecompile.quantization.calibration_batches import input_reader


def test_a_picture_of_the_right_size_is_scaled_and_turned_to_rgb():
    path = pictures("train", 1)[0]
    expected = cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1)[None] / np.float32(255)
    assert np.array_equal(input_reader(simplified().spec)(path), expected)


def test_a_fixed_batch_is_filled(tmp_path):
    spec = json.loads(simplified().spec.read_text())
    spec["input"]["shape"][0] = 3
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    tensor = input_reader(tmp_path / "spec.json")(pictures("train", 1)[0])
    assert tensor.shape == (3, 3, 192, 256)
    assert np.array_equal(tensor[0], tensor[2])


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(RecipeError, match=r"bad\.jpg"):
        input_reader(simplified().spec)(tmp_path / "bad.jpg")
