"""Scaling that counts every pixel, against Pillow's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecompile.runtime.antialias import KERNELS, resize

CASES = [
    ((480, 640), (224, 298)),
    ((640, 480), (298, 224)),
    ((37, 53), (224, 321)),  # enlarged
    ((300, 200), (300, 90)),  # one axis alone
    ((200, 300), (90, 300)),
    ((500, 20), (140, 64)),  # many rows go: Pillow begins with the columns of pixels
    ((188, 45), (171, 40)),
    ((48, 171), (39, 139)),
    ((1, 1), (5, 7)),
    ((5, 7), (1, 1)),
]


@pytest.fixture(scope="module")
def pillow() -> Any:
    image = pytest.importorskip("PIL.Image")
    if int(pytest.importorskip("PIL").__version__.split(".")[0]) < 13:
        pytest.skip("older versions of Pillow scale another axis first")
    return image


def theirs(pillow: Any, image: np.ndarray, size: tuple[int, int], kernel: str = "antialias") -> np.ndarray:
    way = {"antialias": pillow.Resampling.BILINEAR, "antialias_cubic": pillow.Resampling.BICUBIC}[kernel]
    return np.asarray(pillow.fromarray(image).resize(size[::-1], way))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("source", "target"), CASES)
def test_bytes_are_those_of_pillow(pillow: Any, kernel: str, source: Any, target: Any) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*source, 3), dtype=np.uint8)
    extreme = np.where(image > 127, 255, 0).astype(np.uint8)  # the cubic kernel overshoots
    for one in (image, extreme):
        assert np.array_equal(resize(one, target, KERNELS[kernel]), theirs(pillow, one, target, kernel))


@pytest.mark.parametrize("kernel", KERNELS)
def test_sizes_by_chance_and_grey(pillow: Any, kernel: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        source, target = (tuple(int(side) for side in rng.integers(1, 160, 2)) for _ in range(2))
        image = rng.integers(0, 256, (*source, 1), dtype=np.uint8)
        ours = resize(image, target, KERNELS[kernel])[..., 0]
        assert np.array_equal(ours, theirs(pillow, image[..., 0], target, kernel)), (source, target)


def test_a_window_is_that_part_of_the_whole() -> None:
    image = np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for kernel in KERNELS.values():
        for size in ((40, 53), (90, 53), (200, 260)):
            whole = resize(image, size, kernel)
            part = resize(image, size, kernel, top=7, left=5, window=(20, 30))
            assert np.array_equal(part, whole[7:27, 5:35])


def test_the_comparison_would_see_a_pixel_stepped_over(pillow: Any) -> None:
    import cv2

    image = np.random.default_rng(4).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    stepped = cv2.resize(image, (298, 224), interpolation=cv2.INTER_LINEAR)
    assert np.abs(stepped.astype(int) - theirs(pillow, image, (224, 298))).max() > 20
