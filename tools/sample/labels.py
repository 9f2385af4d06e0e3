"""Labels of each task in the formats that Ultralytics reads, made of where the parts lie on the tray."""

import cv2
import numpy as np
from sample.drawing import OVERSAMPLING, Tray

NAMES = ("bolt", "nut", "washer")
KEY_POINTS = ("head", "tip", "hole")  # the ends of a bolt's axis; the middle of a nut or washer
HIDDEN, SEEN = 1, 2
COARSENESS = 1.0  # pixels of the drawing by which a polygon may miss the outline
SMALL = (144, 192)


def boxes(laid, owner):
    """The box around the pixels each part still owns: class, x centre, y centre, width, height."""
    return [(number, *_box(owner == index)) for index, number in _numbered(laid)]


def polygons(laid, owner):
    """The visible outline of each part, its hole ignored: class, then x and y of each corner. Of a part that another
    part cuts in two, the larger piece."""
    lines = []
    for index, number in _numbered(laid):
        contours, _ = cv2.findContours((owner == index).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        corners = cv2.approxPolyDP(max(contours, key=cv2.contourArea), COARSENESS, True)[:, 0]
        if len(corners) >= 3:
            lines.append((number, *_relative(corners + 0.5, owner.shape)))
    return lines


def key_points(laid, owner):
    """The box of each part and its key points: x, y, and 2 for seen, 1 for hidden under another part, 0 for none."""
    lines = []
    for index, number in _numbered(laid):
        line = [number, *_box(owner == index)]
        for point in _key_points(laid[index]):
            line += [0, 0, 0] if point is None else _visibility(point, index, owner)
        lines.append(line)
    return lines


def rectangles(laid, owner):
    """The smallest rectangle around each part, however it is turned and whatever covers it: class and its corners."""
    return [(number, *_relative(rectangle(laid[index].pieces), owner.shape)) for index, number in _numbered(laid)]


def rectangle(pieces):
    """Corners (4, 2) of the smallest rectangle around a part, in pixels of the drawing."""
    points = np.concatenate([contour for contours, *_ in pieces for contour in contours])
    return cv2.boxPoints(cv2.minAreaRect(points.astype(np.float32)))


def inside(pieces, shape):
    """Whether the rectangle around a part lies within the drawing."""
    corners = rectangle(pieces)
    return bool((corners >= 0).all() and (corners <= shape[::-1]).all())


def line_of(label):
    """A label as a line of its file; whole numbers stay whole."""
    return " ".join(str(value) if isinstance(value, int) else f"{value:.6f}" for value in label) + "\n"


TRAYS = {
    "detect": Tray(),
    "segment": Tray(SMALL, (2, 7), (12, 26)),
    "obb": Tray(SMALL, (2, 7), (12, 26), accepts=inside),
    "pose": Tray(SMALL, (2, 7), (12, 26)),
}
LABELS = {"detect": boxes, "segment": polygons, "obb": rectangles, "pose": key_points}


def _numbered(laid):
    return [(index, NAMES.index(part.name)) for index, part in enumerate(laid) if part.name in NAMES]


def _box(mask):
    x, y, wide, high = cv2.boundingRect(mask.astype(np.uint8)) / np.tile(mask.shape[::-1], 2)
    return x + wide / 2, y + high / 2, wide, high


def _relative(points, shape):
    return (np.asarray(points) / shape[::-1]).ravel().tolist()


def _key_points(part):
    if part.name != "bolt":
        return [None, None, part.move]
    points = np.concatenate([contour for contours, *_ in part.pieces for contour in contours]) - part.move
    along = (points @ np.linalg.inv(part.matrix).T)[:, 0]  # in the shape's own units
    return [part.matrix[:, 0] * end + part.move for end in (along.min(), along.max())] + [None]


def _visibility(point, index, owner):
    """x, y and visibility of a point of a part; a point beyond the border is none."""
    column, row = np.floor(point).astype(int)
    if not (0 <= row < owner.shape[0] and 0 <= column < owner.shape[1]):
        return [0, 0, 0]
    rows, columns = (slice(max(place - OVERSAMPLING, 0), place + OVERSAMPLING + 1) for place in (row, column))
    around = owner[rows, columns]
    # The ends lie on the outline: hidden is a point beside which nothing of the part is seen, but a part laid later.
    is_hidden = owner[row, column] > index or ((around > index).any() and not (around == index).any())
    return [*_relative(point, owner.shape), HIDDEN if is_hidden else SEEN]
