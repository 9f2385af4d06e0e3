"""Writes pictures and labels the way Ultralytics looks for them. A picture depends on seed, task, split and number."""

from pathlib import Path

import cv2
import numpy as np
from sample.drawing import OVERSAMPLING, Tray, render
from sample.labels import KEY_POINTS, LABELS, NAMES, TRAYS, line_of

SPLITS = ("train", "val", "test")
TASKS = ("detect", "classify", "segment", "obb", "pose")
KINDS = ("bolt", "coin", "nut", "pin", "plate", "washer")  # of classification
CROP_TRAY = Tray((144, 192), (2, 7), (14, 28), share=0.45)
CROP_SIDE = (64, 96)  # shortest side of a crop, in pixels
QUALITY = {"detect": 85}  # of the JPEG files
SMALL_QUALITY = 80


def data_yaml(task):
    """The text of data.yaml. Without a `path`, Ultralytics reads the folders from where the file itself lies."""
    splits = SPLITS if task == "detect" else SPLITS[:2]
    extra = f"kpt_shape: [{len(KEY_POINTS)}, 3]\nflip_idx: [0, 1, 2]\n" if task == "pose" else ""
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(NAMES))
    return "".join(f"{split}: images/{split}\n" for split in splits) + f"{extra}names:\n{names}"


def write_pictures(folder, seed, split, count, task="detect"):
    """Write a split's first pictures and their labels."""
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture, laid, owner = render(_generator(seed, split, number, task), TRAYS[task])
        name = f"{split}_{number:04d}"
        _write(folder / "images" / split / f"{name}.jpg", picture, QUALITY.get(task, SMALL_QUALITY))
        lines = map(line_of, LABELS[task](laid, owner))
        (folder / "labels" / split / f"{name}.txt").write_text("".join(lines))


def write_crops(folder, seed, split, each):
    """Write the first crops of each class of a split, a folder a class."""
    counts, number = dict.fromkeys(KINDS, 0), 0
    for name in KINDS:
        (folder / split / name).mkdir(parents=True, exist_ok=True)
    while min(counts.values()) < each:
        rng = _generator(seed, split, number, "classify")
        number += 1
        picture, laid, owner = render(rng, CROP_TRAY)
        for index, part in enumerate(laid):
            crop = crop_around(rng, picture, owner == index)
            if part.name in KINDS and crop is not None and counts[part.name] < each:
                name = f"{split}_{part.name}_{counts[part.name]:04d}.jpg"
                _write(folder / split / part.name / name, crop, SMALL_QUALITY)
                counts[part.name] += 1


def crop_around(rng, picture, mask):
    """A part and some of the tray: the part fits into the middle square; one side is longer. None where the picture
    ends too near."""
    high, wide = picture.shape[:2]
    x, y, w, h = np.array(cv2.boundingRect(mask.astype(np.uint8))) / OVERSAMPLING
    side, stretch = max(w, h) * rng.uniform(1.05, 1.3), rng.uniform(1.0, 1.5)
    half = np.array((side * stretch, side) if rng.random() < 0.5 else (side, side * stretch)) / 2
    middle = np.array((x + w / 2, y + h / 2))
    near, far = np.round(middle - half).astype(int), np.round(middle + half).astype(int)
    shortest = int(rng.integers(*CROP_SIDE))
    if (near < 0).any() or far[0] > wide or far[1] > high:
        return None
    crop = picture[near[1] : far[1], near[0] : far[0]]
    if rng.random() < 0.5 or min(crop.shape[:2]) < 24:
        scale = shortest / min(crop.shape[:2])
        crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    return crop


def _generator(seed, split, number, task):
    key = [seed, SPLITS.index(split), number]
    return np.random.default_rng(key if task == "detect" else [*key, TASKS.index(task)])


def _write(path: Path, picture, quality):
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
