"""Where a picture stands in the input of a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """Where a picture stands in the frame: what it takes to bring boxes back.

    Attributes:
        source: height and width of the picture, pixels.
        scaled: height and width it has in the frame.
        top, left: border above and left of it.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    top: int
    left: int

    def restore(self, boxes: np.ndarray, *, clip: bool = True) -> np.ndarray:
        """Brings boxes (n, 4), x1 y1 x2 y2, from pixels of the frame to pixels of the picture, in place.

        Args:
            clip: whether they are cut at the picture's border.
        """
        height, width = self.source
        boxes[:, 0::2] -= self.left
        boxes[:, 1::2] -= self.top
        boxes[:, 0::2] /= self.scaled[1] / width
        boxes[:, 1::2] /= self.scaled[0] / height
        if clip:
            np.clip(boxes[:, 0::2], 0, width, out=boxes[:, 0::2])
            np.clip(boxes[:, 1::2], 0, height, out=boxes[:, 1::2])
        return boxes

    def restore_points(self, points: np.ndarray, *, clip: bool = True) -> np.ndarray:
        """Brings points (..., 2 or more), of which x and y stand first, from pixels of the frame to pixels of the
        picture, in place.

        Args:
            clip: whether they are moved to the picture's border where they lie outside.
        """
        height, width = self.source
        points[..., 0] -= self.left
        points[..., 1] -= self.top
        points[..., 0] /= self.scaled[1] / width
        points[..., 1] /= self.scaled[0] / height
        if clip:
            np.clip(points[..., 0], 0, width, out=points[..., 0])
            np.clip(points[..., 1], 0, height, out=points[..., 1])
        return points

    def restore_rotated(self, boxes: np.ndarray) -> np.ndarray:
        """Brings boxes (n, 5), centre x and y, width, height, angle, from pixels of the frame to pixels of the picture,
        in place. The angle stays as it is, and nothing is cut: a rotated box that is cut is none."""
        self.restore_points(boxes, clip=False)
        boxes[:, 2] /= self.scaled[1] / self.source[1]
        boxes[:, 3] /= self.scaled[0] / self.source[0]
        return boxes
