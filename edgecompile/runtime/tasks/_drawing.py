"""Draws results on a picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
GOLDEN_ANGLE = 0.618034
"""Step around the colour wheel that keeps the colours of neighbouring classes apart, however many there are."""
MOST_DRAWN = 30_000
"""Pixels from the picture's corner up to which OpenCV draws lines."""


def draw_box(canvas: np.ndarray, box: Sequence[float], text: str, number: int) -> None:
    """Draws a box (x1, y1, x2, y2 in pixels) in the colour of its class, with a caption, in place."""
    scale = scale_of(canvas)
    color = color_of(number)
    x1, y1, x2, y2 = (round(value) for value in box)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), color, thickness_at(scale), cv2.LINE_AA)
    draw_caption(canvas, text, x1, y1, color, scale)


def draw_polygon(canvas: np.ndarray, corners: Sequence[Sequence[float]], text: str, number: int) -> None:
    """Draws a closed line through corners (x, y in pixels) in the colour of its class, with a caption at the uppermost,
    in place."""
    scale, color = scale_of(canvas), color_of(number)
    points = np.clip(np.rint(corners), -MOST_DRAWN, MOST_DRAWN).astype(np.int32)
    cv2.polylines(canvas, [points.reshape(-1, 1, 2)], True, color, thickness_at(scale), cv2.LINE_AA)
    x, y = points[points[:, 1].argmin()].tolist()
    draw_caption(canvas, text, x, y, color, scale)


def draw_points(
    canvas: np.ndarray, points: Sequence[Sequence[float]], limbs: Sequence[tuple[int, int]], lowest: float
) -> None:
    """Draws key points (x, y in pixels, confidence) and the limbs between them, in place; each point in a colour of its
    own, those whose confidence is below `lowest` not at all."""
    thickness = thickness_at(scale_of(canvas))
    places = [(round(x), round(y)) if confidence >= lowest else None for x, y, confidence in points]
    for first, second in limbs:
        if (begin := places[first]) and (end := places[second]):
            cv2.line(canvas, begin, end, color_of(second), thickness, cv2.LINE_AA)
    for number, place in enumerate(places):
        if place:
            cv2.circle(canvas, place, thickness + 1, color_of(number), cv2.FILLED, cv2.LINE_AA)


def draw_mask(part: np.ndarray, mask: np.ndarray, number: int, opacity: float) -> None:
    """Tints the pixels of a mask, bool of the size of a part of a picture, in the colour of a class, in place."""
    tint = np.array(color_of(number), np.float32) * opacity
    part[mask] = (part[mask] * (1 - opacity) + tint).astype(np.uint8)


def draw_outlines(
    canvas: np.ndarray, polygons: Sequence[np.ndarray], box: Sequence[float], text: str, number: int
) -> None:
    """Draws the borders of an object, int32 (k, 2) each, and a caption at the corner of its box, in place."""
    scale = scale_of(canvas)
    color = color_of(number)
    cv2.polylines(canvas, list(polygons), True, color, thickness_at(scale), cv2.LINE_AA)
    draw_caption(canvas, text, round(box[0]), round(box[1]), color, scale)


def thickness_at(scale: float) -> int:
    """Returns how thick lines of a scale are, pixels."""
    return max(round(scale * 2), 1)


def color_of(number: int) -> tuple[int, int, int]:
    """Returns the colour (BGR) of a class: always the same for a number."""
    hue = int((number * GOLDEN_ANGLE % 1) * 180)
    pixel = cv2.cvtColor(np.array([[[hue, 200, 210]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return int(pixel[0]), int(pixel[1]), int(pixel[2])


def draw_caption(canvas: np.ndarray, text: str, x: int, y: int, color: tuple[int, int, int], scale: float) -> None:
    """Writes a caption on a filled ground above the point (x, y), or below it at the upper border."""
    (width, height), below = cv2.getTextSize(text, FONT, scale, thickness_of(scale))
    x = max(min(x, canvas.shape[1] - width), 0)
    draw_text(canvas, text, x, y - height - below if y >= height + below else y, color, scale)


def draw_text(canvas: np.ndarray, text: str, x: int, top: int, color: tuple[int, int, int], scale: float) -> int:
    """Writes a line on a filled ground below and right of the point (x, top). Returns where the ground ends below."""
    thickness = thickness_of(scale)
    (width, height), below = cv2.getTextSize(text, FONT, scale, thickness)
    cv2.rectangle(canvas, (x, top), (x + width, top + height + below), color, cv2.FILLED)
    ink = (0, 0, 0) if sum(color) > 380 else (255, 255, 255)
    cv2.putText(canvas, text, (x, top + height + below // 2), FONT, scale, ink, thickness, cv2.LINE_AA)
    return top + height + below


def scale_of(canvas: np.ndarray) -> float:
    """Returns the scale of writing on a picture: legible on small pictures, in proportion on large ones."""
    return max(min(canvas.shape[:2]) / 900, 0.35)


def thickness_of(scale: float) -> int:
    """Returns how thick writing of a scale is, pixels."""
    return max(round(scale * 1.5), 1)
