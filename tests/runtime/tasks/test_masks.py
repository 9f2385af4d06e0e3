"""Masks are those of Ultralytics to the pixel, whatever the size of the picture and where its border stands."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from edgecompile.runtime.geometry import Geometry
from edgecompile.runtime.letterbox import fit
from edgecompile.runtime.spec import Frame
from edgecompile.runtime.tasks import OutputError, _masks
from edgecompile.runtime.tasks._masks import Mask, Plane, masks_of

INPUT = (96, 128)
SOURCES = [(96, 128), (192, 256), (48, 64), (71, 200), (333, 97), (480, 640), (95, 128), (90, 128), (300, 300), (7, 5)]
"""Sizes of pictures: without a border, larger, smaller, with borders of 1 to many pixels, even and odd."""


def scene(source: tuple[int, int], count: int = 12, seed: int = 0) -> tuple[Plane, list[Mask], dict[str, np.ndarray]]:
    """Returns a plane, masks of blobs on a picture of a size, and what they were made of."""
    rng = np.random.default_rng(seed)
    geometry = fit(source, Frame(INPUT, 114, True, True, "linear"))
    shape = (INPUT[0] // 4, INPUT[1] // 4)
    noise = rng.standard_normal((8, *shape)).astype(np.float32)
    prototypes = np.stack([cv2.GaussianBlur(layer, (0, 0), 2) for layer in noise])
    coefficients = rng.standard_normal((count, 8)).astype(np.float32)
    corners = rng.uniform(-4, (INPUT[1], INPUT[0]), (count, 2))
    sides = rng.uniform(2, 70, (count, 2))
    boxes = np.concatenate((corners, corners + sides), axis=1).astype(np.float32)
    given = {"prototypes": prototypes, "coefficients": coefficients, "boxes": boxes}
    plane = Plane(shape, geometry)
    return plane, masks_of(prototypes, coefficients, boxes.copy(), geometry.restore(boxes.copy()), plane), given


@pytest.fixture(scope="module")
def ops(ultralytics: ModuleType) -> Any:
    from ultralytics.utils import ops

    return ops


def tensors(*arrays: np.ndarray) -> list[Any]:
    import torch

    return [torch.from_numpy(array.copy()) for array in arrays]


@pytest.mark.parametrize("source", SOURCES)
def test_equal_ultralytics_at_the_size_of_the_picture(source: tuple[int, int], ops: Any) -> None:
    plane, masks, given = scene(source)
    boxes = plane.geometry.restore(given["boxes"].copy())
    theirs = ops.process_mask_native(*tensors(given["prototypes"], given["coefficients"], boxes), source)
    ours = np.stack([mask.pixels() for mask in masks])
    assert ours.any()
    assert np.array_equal(ours, theirs.numpy().astype(bool))
    assert [mask.is_empty() for mask in masks] == [not mask.any() for mask in ours]


@pytest.mark.parametrize("source", [(96, 128), (71, 200)])
def test_equal_ultralytics_at_the_size_of_the_prototypes(source: tuple[int, int], ops: Any) -> None:
    _, masks, given = scene(source)
    theirs = ops.process_mask(*tensors(given["prototypes"], given["coefficients"], given["boxes"]), INPUT)
    assert np.array_equal([mask.on_plane() for mask in masks], theirs.numpy().astype(bool))


def test_a_large_picture_is_made_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    _, masks, _ = scene((480, 640))
    whole = [mask.window() for mask in masks]
    monkeypatch.setattr(_masks, "BAND", 900)
    assert all(np.array_equal(mask.window(), before) for mask, before in zip(masks, whole, strict=True))


def test_little_is_kept_of_the_prototypes() -> None:
    """A result that somebody keeps does not hold on to what the model put out."""
    _, masks, given = scene((480, 640))
    kept = sum(mask.numbers.nbytes for mask in masks)
    assert all(mask.numbers.base is None for mask in masks)
    areas = np.prod(given["boxes"][:, 2:] - given["boxes"][:, :2], axis=1)
    assert kept < (areas / 16 + 60 * 20).sum() * 4


def test_a_box_outside_of_the_input_has_an_empty_mask() -> None:
    plane, _, given = scene((96, 128))
    boxes = np.array([[-50, -50, -20, -20], [200, 10, 240, 40], [10, 10, 10, 10]], np.float32)
    masks = masks_of(given["prototypes"], given["coefficients"][:3], boxes, boxes.copy(), plane)
    for mask in masks:
        assert mask.is_empty()
        assert not mask.pixels().any()
        assert not mask.on_plane().any()
        assert mask.polygons() == []


def test_polygons_fill_to_the_mask_but_for_its_holes() -> None:
    plane, masks, _ = scene((480, 640))
    for mask in masks:
        pixels = mask.pixels()
        filled = np.zeros(plane.geometry.source, np.uint8)
        for polygon in mask.polygons():
            cv2.drawContours(filled, [polygon], -1, 1, cv2.FILLED)
        assert (filled.astype(bool) >= pixels).all()
        borders, tree = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        holes = borders and (tree[0][:, 3] >= 0).any()
        assert holes or np.array_equal(filled.astype(bool), pixels)


def test_a_picture_that_stands_elsewhere_in_the_input() -> None:
    """A picture cut at the frame, as other ways to scale make it: beyond the frame the outermost numbers count."""
    plane = Plane((24, 32), Geometry((100, 100), (128, 128), -16, 0))
    flat = np.ones((1, 24, 32), np.float32)
    box = np.array([[0, 0, 128, 96]], np.float32)
    (mask,) = masks_of(flat, np.ones((1, 1), np.float32), box, np.array([[0, 0, 100, 100]], np.float32), plane)
    assert mask.pixels().all()


def test_numbers_that_are_not_finite_are_refused() -> None:
    plane, _, given = scene((96, 128))
    given["coefficients"][2, 3] = np.inf
    with pytest.raises(OutputError, match="not finite"):
        masks_of(given["prototypes"], given["coefficients"], given["boxes"], given["boxes"].copy(), plane)
