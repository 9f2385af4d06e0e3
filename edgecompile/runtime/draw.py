"""Draws detections on a picture."""

from __future__ import annotations

import cv2
import numpy as np

from edgecompile.runtime.detections import Detections

FONT = cv2.FONT_HERSHEY_SIMPLEX
GOLDEN_ANGLE = 0.618034
"""Step around the colour wheel that keeps the colours of neighbouring classes apart, however many there are."""


def draw(image: np.ndarray, detections: Detections) -> np.ndarray:
    """Returns a copy of a BGR picture with a box, the class and the score of each detection."""
    canvas = image.copy()
    scale = max(min(image.shape[:2]) / 900, 0.35)
    line = max(round(scale * 2), 1)
    for found in reversed(list(detections)):  # the best last, on top
        color = color_of(found.class_id)
        x1, y1, x2, y2 = (round(value) for value in found.box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, line, cv2.LINE_AA)
        _label(canvas, f"{found.name} {found.score:.2f}", x1, y1, color, scale)
    return canvas


def color_of(number: int) -> tuple[int, int, int]:
    """Returns the colour (BGR) of a class: always the same for a number."""
    hue = int((number * GOLDEN_ANGLE % 1) * 180)
    pixel = cv2.cvtColor(np.array([[[hue, 200, 210]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return int(pixel[0]), int(pixel[1]), int(pixel[2])


def _label(canvas: np.ndarray, text: str, x: int, y: int, color: tuple[int, int, int], scale: float) -> None:
    """Writes a caption on a filled ground above the point (x, y), or below it at the upper border."""
    thickness = max(round(scale * 1.5), 1)
    (width, height), below = cv2.getTextSize(text, FONT, scale, thickness)
    x = max(min(x, canvas.shape[1] - width), 0)
    top = y - height - below if y >= height + below else y
    cv2.rectangle(canvas, (x, top), (x + width, top + height + below), color, cv2.FILLED)
    ink = (0, 0, 0) if sum(color) > 380 else (255, 255, 255)
    cv2.putText(canvas, text, (x, top + height + below // 2), FONT, scale, ink, thickness, cv2.LINE_AA)
