"""Draws parts on a tray with OpenCV: metal height fields under one light, seen through a sensor with blur and noise.

Bolts, nuts and washers lie partly over each other, among things that are none of the three, on varied surfaces. All
that is random comes from the generator that is handed in: equal seeds give equal pictures.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

OVERSAMPLING = 2  # pictures are drawn this many times larger and then reduced, which smooths every edge
METALS = ((196, 200, 204), (176, 182, 188), (120, 190, 214), (150, 205, 205), (70, 74, 80), (120, 150, 205))  # BGR
SURFACES = ((92, 96, 100), (150, 152, 150), (70, 104, 150), (120, 80, 50), (60, 62, 64), (80, 110, 70), (170, 196, 214))


# A shape is a list of pieces; a piece is (contours, rim, height, thread pitch) in units of the part's size, where every
# contour after the first is a hole, and the rim is how far from its edge the metal rounds off.
def ring(radius, sides=40):
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    return radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def box(x0, x1, half, taper0=0.0, taper1=0.0):
    """A bar along x from x0 to x1, its corners at either end drawn in by the given tapers."""
    return np.array(
        [
            (x0, half - taper0),
            (x0 + taper0, half),
            (x1 - taper1, half),
            (x1, half - taper1),
            (x1, taper1 - half),
            (x1 - taper1, -half),
            (x0 + taper0, -half),
            (x0, taper0 - half),
        ]
    )


def bolt(rng):
    length, half = rng.uniform(0.9, 1.5), rng.uniform(0.20, 0.30)
    head, wide = rng.uniform(0.9, 1.6) * half, rng.uniform(1.65, 2.1) * half
    kind, tip = rng.integers(4), -length - head
    if kind == 0:  # hexagon head, its middle facet raised
        heads = [([box(tip, -length, wide)], 0.12, 0.6, 0), ([box(tip, -length, wide * 0.5)], 0.06, 0.7, 0)]
    elif kind == 1:  # pan head
        heads = [([ring(1.0)[10:31] * (head, wide) - (length, 0)], wide, 0.6, 0)]
    elif kind == 2:  # countersunk head
        heads = [([np.array([(tip, wide), (-length, half), (-length, -half), (tip, -wide)])], wide, 0.6, 0)]
    else:  # socket cap
        heads = [([box(-length - head * 1.4, -length, wide * 0.85, 0.05, 0.0)], wide, 0.6, 0)]
    return [([box(-length, length, half, 0.0, half * 0.4)], half, 0.4, rng.uniform(0.08, 0.14)), *heads]


def pin(rng):
    half = rng.uniform(0.15, 0.3)
    return [([box(-1.2, 1.2, half, half * 0.4, half * 0.4)], half, 0.4, 0)]


def plate(rng):
    contours = [box(-1.0, 1.0, rng.uniform(0.3, 0.9), 0.08, 0.08)]
    if rng.random() < 0.5:
        contours.append(ring(0.15) + np.array((rng.uniform(-0.7, 0.7), 0)))
    return [(contours, 0.06, 0.15, 0)]


def nut(rng):
    return [([ring(1.0, 6), ring(rng.uniform(0.46, 0.60))], 0.16, 0.5, 0)]


def washer(rng):
    return [([ring(1.0), ring(rng.uniform(0.42, 0.66))], 0.10, 0.15, 0)]


def coin(rng):
    return [([ring(1.0)], 0.12, 0.2, 0)]


def scrap(rng):
    return [([ring(1.0, int(rng.integers(4, 8))) * rng.uniform(0.5, 1.1, 2)], 0.03, 0.03, 0)]


SHAPES = (bolt, nut, washer)
DISTRACTORS = (pin, coin, plate, scrap)


@dataclass(frozen=True)
class Part:
    """Something that lies on the tray, in pixels of the drawing.

    Attributes:
        name: of its shape: "bolt".
        pieces: contours, rim, height and thread pitch of each piece.
        matrix: (2, 2), turns and scales the shape's own units, in which its axis is x.
        move: (2,), where the shape's origin lies.
        area: pixels that it covers within the drawing.
    """

    name: str
    pieces: list
    matrix: np.ndarray
    move: np.ndarray
    area: int

    @property
    def axis(self):
        return self.matrix[:, 0] / np.linalg.norm(self.matrix[:, 0])


@dataclass(frozen=True)
class Tray:
    """What is drawn.

    Attributes:
        size: height and width of the picture.
        count: least number of things on it, and one more than the most.
        radius: least and largest size of things, in pixels of the picture, before all are scaled by 0.75 to 1.3.
        share: of bolts, nuts and washers among the things.
        accepts: whether a part may lie so: its pieces, height and width of the drawing.
    """

    size: tuple[int, int] = (192, 256)
    count: tuple[int, int] = (3, 10)
    radius: tuple[float, float] = (9, 26)
    share: float = 0.8
    accepts: Callable = lambda pieces, shape: True


def cloud(rng, shape, cells_y, cells_x):
    """Smooth noise of about unit size with so many cells each way."""
    cells = rng.standard_normal((max(2, int(cells_y)), max(2, int(cells_x)))).astype(np.float32)
    return cv2.resize(cells, shape[::-1], interpolation=cv2.INTER_CUBIC)


def surface(rng, shape):
    """The tray: a base colour with grain, stains, uneven light, and at times ribs, drilled holes or scratches."""
    height, width = shape
    tone = 1 + 0.10 * cloud(rng, shape, 4, 5) * rng.random() + 0.05 * cloud(rng, shape, 24, 32) * rng.random()
    grain = rng.choice([0.0, 0.04, 0.08])
    tone += grain * (cloud(rng, shape, height // 2, 6) if rng.random() < 0.5 else cloud(rng, shape, 5, width // 2))
    if rng.random() < 0.3:
        pitch, angle = rng.uniform(30, 90), rng.uniform(0, np.pi)
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        tone += 0.10 * np.clip(6 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / pitch) - 5, 0, 1)
    tone = np.clip(tone, 0.2, 1.6).astype(np.float32)
    for _ in range(rng.choice([0, 0, 3, 8])):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(tone, centre, int(rng.integers(5, 22)), float(rng.uniform(0.25, 0.6)), -1, cv2.LINE_AA)
    for _ in range(rng.choice([0, 4, 12])):
        ends = rng.uniform(0, (width, height), (2, 2)).astype(int)
        cv2.line(tone, *(tuple(map(int, end)) for end in ends), float(rng.uniform(0.6, 1.5)), 1, cv2.LINE_AA)
    colour = np.array(SURFACES[rng.integers(len(SURFACES))], np.float32) * rng.uniform(0.6, 1.15)
    return tone[..., None] * (colour + rng.uniform(-12, 12, 3).astype(np.float32))


def silhouette(pieces, shape):
    """The pixels the pieces cover."""
    mask = np.zeros(shape, np.uint8)
    for contours, *_ in pieces:
        filled = np.zeros(shape, np.uint8)
        cv2.fillPoly(filled, [np.round(c * 16).astype(np.int32) for c in contours], 1, shift=4)  # a second contour cuts
        mask |= filled
    return mask.astype(bool)


def full_area(pieces):
    """What the pieces would cover on an endless tray (a third piece lies on the second)."""
    areas = [[cv2.contourArea(contour.astype(np.float32)) for contour in contours] for contours, *_ in pieces[:2]]
    return sum(outer - sum(holes) for outer, *holes in areas)


def place(rng, shape_of, size, shape):
    """Draw a shape's proportions, turn it, tilt it a little and move it somewhere on the tray, in pixels."""
    turn, tilt = rng.uniform(0, 2 * np.pi, 2)
    rotate = [np.array([(np.cos(a), -np.sin(a)), (np.sin(a), np.cos(a))]) for a in (turn, tilt, -tilt)]
    matrix = size * rotate[0] @ rotate[1] @ np.diag([1, rng.uniform(0.72, 1.0)]) @ rotate[2]
    move = rng.uniform((0, 0), shape[::-1])
    pieces = [
        ([c @ matrix.T + move for c in contours], rim * size, height, pitch * size)
        for contours, rim, height, pitch in shape_of(rng)
    ]
    return pieces, matrix, move


def paint(picture, rng, pieces, axis, metal, light, gloss):
    """Shade a part as a height field of rounded rims under the light, and let it cast its shadow on what is there."""
    points = np.concatenate([contour for contours, *_ in pieces for contour in contours])
    near, far = np.maximum(points.min(0) - 45, 0).astype(int), np.maximum(points.max(0) + 45, 1).astype(int)
    picture = picture[near[1] : far[1], near[0] : far[0]]  # only this much of it is touched
    pieces = [([contour - near for contour in contours], *rest) for contours, *rest in pieces]
    shape = picture.shape[:2]
    whole = silhouette(pieces, shape).astype(np.float32)
    reach = 40 * max(height for _, _, height, _ in pieces) * np.sqrt(pieces[0][1] / 12)
    shift = np.float32([[1, 0, -light[0] * reach * 0.4], [0, 1, -light[1] * reach * 0.4]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(whole, shift, shape[::-1]), (0, 0), 1 + reach * 0.12)
    picture *= 1 - 0.55 * np.maximum(shadow, 0.6 * cv2.GaussianBlur(whole, (0, 0), 3))[..., None]
    halfway = light + np.array((0, 0, 1))
    halfway /= np.linalg.norm(halfway)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    for contours, rim, _, pitch in pieces:
        mask = silhouette([(contours,)], shape)
        if not mask.any():
            continue
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        relief = rim * np.sqrt(1 - (1 - np.clip(depth / rim, 0, 1)) ** 2)
        if pitch:
            relief += 0.2 * pitch * np.sin((x * axis[0] + y * axis[1]) * 2 * np.pi / pitch)
        relief = relief.astype(np.float32) + 0.07 * cloud(rng, shape, shape[0] // 3, shape[1] // 3)  # tool marks
        relief = cv2.GaussianBlur(relief, (0, 0), 0.8)
        slope_x, slope_y = (cv2.Sobel(relief, cv2.CV_32F, dx, 1 - dx, scale=0.125) for dx in (1, 0))
        normal = np.stack([-slope_x, -slope_y, np.ones_like(slope_x)], axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        diffuse = 0.40 + 0.55 * np.clip(normal @ light, 0, 1) + 0.12 * np.sin(5 * normal[..., 0] + 4 * normal[..., 1])
        shine = gloss * np.clip(normal @ halfway, 0, 1) ** 24
        picture[mask] = (diffuse[..., None] * metal + 150 * shine[..., None])[mask]


def arrange(rng, tray, shape):
    """Choose what lies where; later parts may cover earlier ones, but never more than half of any."""
    owner, laid = np.full(shape, -1), []
    count, scale = int(rng.integers(*tray.count)), rng.uniform(0.75, 1.3)
    for _ in range(count):
        kind = int(rng.integers(3)) if rng.random() < tray.share else None
        shape_of = SHAPES[kind] if kind is not None else DISTRACTORS[rng.integers(len(DISTRACTORS))]
        size = OVERSAMPLING * scale * np.exp(rng.uniform(*np.log(tray.radius)))
        for _ in range(10):
            pieces, matrix, move = place(rng, shape_of, size, shape)
            mask, overlap_allowed = silhouette(pieces, shape), rng.random() < 0.25
            if mask.sum() < 0.55 * full_area(pieces) or (not overlap_allowed and (owner[mask] >= 0).any()):
                continue
            left = np.where(mask, len(laid), owner)
            hides_much = any((left == number).sum() < 0.5 * part.area for number, part in enumerate(laid))
            if not hides_much and tray.accepts(pieces, shape):
                owner = left
                laid.append(Part(shape_of.__name__, pieces, matrix, move, int(mask.sum())))
                break
    return laid, owner


def photograph(rng, picture):
    """What a small camera makes of the drawing: exposure, colour cast, blur, reduction and noise."""
    picture = picture * np.clip(1 + 0.25 * cloud(rng, picture.shape[:2], 2, 2) * rng.random(), 0.4, 1.6)[..., None]
    picture = picture * rng.uniform(0.6, 1.2) * rng.uniform(0.92, 1.08, 3)
    picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.4, 2.4))
    if rng.random() < 0.15:  # the tray moved
        smear = int(rng.integers(3, 8))
        picture = cv2.blur(picture, (smear, 1) if rng.random() < 0.5 else (1, smear))
    size = tuple(side // OVERSAMPLING for side in picture.shape[:2])
    picture = np.clip(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA), 0, 255)
    noise = rng.standard_normal(picture.shape) * (rng.uniform(0.5, 3.5) + 0.15 * np.sqrt(picture) * rng.random())
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def render(rng, tray):
    """One picture of the tray; the parts on it in the order in which they were laid, and for each pixel of the drawing
    the number of the part that is seen there, or -1."""
    shape = tuple(side * OVERSAMPLING for side in tray.size)
    picture = surface(rng, shape)
    around, up = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.2)
    light = np.array([np.cos(around) * np.cos(up), np.sin(around) * np.cos(up), np.sin(up)], np.float32)
    laid, owner = arrange(rng, tray, shape)
    usual = METALS[rng.integers(len(METALS))]
    for part in laid:
        metal = np.array(usual if rng.random() < 0.6 else METALS[rng.integers(len(METALS))]) * rng.uniform(0.75, 1.1)
        paint(picture, rng, part.pieces, part.axis, metal.astype(np.float32), light, rng.uniform(0.1, 1.0))
    return photograph(rng, picture), laid, owner
