"""Labelled masks are drawn, and masks compared, as Ultralytics' validation does."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgecompile.evaluate import _mask_overlaps
from edgecompile.runtime.letterbox import fit
from edgecompile.runtime.spec import Frame
from edgecompile.runtime.tasks._masks import Plane

INPUT = (96, 128)


def polygons(count: int, most: int = 12, seed: int = 0) -> list[np.ndarray]:
    """Returns polygons around points of the picture, of which many overlap; some reach beyond the border."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, most)))
        radii = rng.uniform(0.02, 0.3) * rng.uniform(0.5, 1, len(angles))
        points = rng.uniform(0, 1, 2) + np.stack((np.cos(angles), np.sin(angles)), 1) * radii[:, None]
        found.append(points.clip(-0.01, 1.01).astype(np.float32))
    return found


def of_unequal_sizes(found: list[np.ndarray], plane: Plane) -> list[np.ndarray]:
    """Returns polygons without those of the size of another: which of two is on top, Ultralytics leaves to an unstable
    sort."""
    sizes = {int(_mask_overlaps.drawn([polygon], plane).sum()): polygon for polygon in found}
    return list(sizes.values())


def plane_of(source: tuple[int, int]) -> Plane:
    return Plane((INPUT[0] // 4, INPUT[1] // 4), fit(source, Frame(INPUT, 114, True, True, "linear")))


def theirs_of(found: list[np.ndarray], plane: Plane) -> np.ndarray:
    """Returns the masks as Ultralytics' data set gives them to its validation."""
    from ultralytics.data.utils import polygons2masks_overlap
    from ultralytics.utils.ops import resample_segments

    most = max(map(len, found))
    points = np.stack(resample_segments([one.copy() for one in found], 1000 if most <= 1000 else most + 1))
    height, width = plane.geometry.scaled
    points *= np.array([width, height], np.float32)
    points += np.array([plane.geometry.left, plane.geometry.top], np.float32)
    owners, order = polygons2masks_overlap(INPUT, points, downsample_ratio=4)
    masks = np.zeros((len(found), *plane.shape), bool)
    for place, index in enumerate(order):
        masks[index] = owners == place + 1
    return masks


@pytest.mark.parametrize("source", [(96, 128), (333, 97), (71, 200)])
@pytest.mark.parametrize("count", [1, 14])
def test_drawn_as_ultralytics_draws(source: tuple[int, int], count: int, ultralytics: ModuleType) -> None:
    plane = plane_of(source)
    found = of_unequal_sizes(polygons(count), plane)
    ours = _mask_overlaps.drawn(found, plane)
    assert ours.any()
    assert np.array_equal(ours, theirs_of(found, plane))
    assert ours.sum(0).max() == 1, "a pixel belongs to one object"


def test_polygons_of_more_corners_than_are_drawn(ultralytics: ModuleType) -> None:
    plane, found = plane_of((96, 128)), polygons(4, most=1500, seed=2)
    assert max(map(len, found)) > _mask_overlaps.POINTS
    assert np.array_equal(_mask_overlaps.drawn(found, plane), theirs_of(found, plane))


def test_the_smaller_object_covers_the_larger() -> None:
    square = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]], np.float32)
    inner = (square - 0.5) / 2 + np.float32(0.5)
    for order in ((square, inner), (inner, square)):
        masks = dict(zip(("first", "second"), _mask_overlaps.drawn(order, plane_of((96, 128))), strict=True))
        small, large = sorted(masks.values(), key=lambda mask: int(mask[6:18, 8:24].sum()))[::-1]
        assert small[12, 16]
        assert not large[12, 16]
        assert large.any()


def test_overlaps_equal_ultralytics(ultralytics: ModuleType) -> None:
    import torch
    from ultralytics.utils.metrics import mask_iou

    rng = np.random.default_rng(1)
    first, second = rng.random((5, 24, 32)) < 0.4, rng.random((7, 24, 32)) < 0.4
    first[2] = False
    tensors: list[Any] = [torch.from_numpy(masks).flatten(1).float() for masks in (first, second)]
    assert np.array_equal(_mask_overlaps.overlaps(first, list(second)), mask_iou(*tensors).numpy())
    assert _mask_overlaps.overlaps(first, []).shape == (5, 0)
    assert _mask_overlaps.overlaps(first[:0], list(second)).shape == (0, 7)
