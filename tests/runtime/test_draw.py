from __future__ import annotations

import numpy as np

from edgecompile.runtime.tasks.detect import Detections
from edgecompile.runtime.draw import color_of, draw


def test_draws_boxes_on_a_copy() -> None:
    image = np.full((120, 160, 3), 90, np.uint8)
    boxes = np.array([[30, 40, 90, 100], [0, 0, 160, 3], [150.4, 100.2, 160, 120]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.5, 0.3], np.float32), np.array([0, 1, 2]), ("a", "Überlänge" * 9, "c"))
    drawn = draw(image, found)
    assert (image == 90).all()
    assert drawn.shape == image.shape
    assert np.abs(drawn[70, 30].astype(int) - color_of(0)).max() < 20  # lines are smoothed
    assert drawn[70, 60].tolist() == [90, 90, 90]


def test_nothing_found_is_nothing_drawn() -> None:
    image = np.full((20, 30, 3), 90, np.uint8)
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64), ())
    assert np.array_equal(draw(image, nothing), image)


def test_neighbouring_classes_have_other_colors() -> None:
    colors = np.array([color_of(number) for number in range(80)], np.int64)
    assert np.abs(np.diff(colors, axis=0)).sum(axis=1).min() > 60
