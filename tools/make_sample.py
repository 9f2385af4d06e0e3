"""Make the embedded sample: pictures of small parts on a tray, and a small detection model trained on them.

Every picture is drawn here with OpenCV from a seed: bolts, nuts and washers, shaded as metal height fields under one
light, lying partly over each other among things that are none of the three, on varied surfaces, seen through a sensor
with blur and noise. The boxes come from the pixels each part still owns once the picture is finished. A narrow YOLO11
is then trained from scratch on the training pictures and its weights are written without anything of this machine.

    python tools/make_sample.py --out edgecompile/sample
"""

import argparse
import os
import sys
import tempfile
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import cv2
import numpy as np

NAMES = ("bolt", "nut", "washer")
WIDTH, HEIGHT = 256, 192
OVERSAMPLING = 2  # pictures are drawn this many times larger and then reduced, which smooths every edge
IMAGE_SIZE = 256  # what the model is trained, measured and exported at
PACKAGED = {"train": 96, "val": 64, "test": 32}
# Without a `path`, Ultralytics reads the folders from where the file itself lies.
DATA_YAML = "train: images/train\nval: images/val\ntest: images/test\nnames:\n" + "".join(
    f"  {number}: {name}\n" for number, name in enumerate(NAMES)
)
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


SHAPES = (
    bolt,
    lambda rng: [([ring(1.0, 6), ring(rng.uniform(0.46, 0.60))], 0.16, 0.5, 0)],  # nut
    lambda rng: [([ring(1.0), ring(rng.uniform(0.42, 0.66))], 0.10, 0.15, 0)],  # washer
)
DISTRACTORS = (
    pin,
    lambda rng: [([ring(1.0)], 0.12, 0.2, 0)],  # coin
    plate,
    lambda rng: [([ring(1.0, int(rng.integers(4, 8))) * rng.uniform(0.5, 1.1, 2)], 0.03, 0.03, 0)],  # scrap
)


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
    return pieces, matrix[:, 0] / np.linalg.norm(matrix[:, 0])


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


def arrange(rng, shape):
    """Choose what lies where; later parts may cover earlier ones, but never more than half of any."""
    owner, laid = np.full(shape, -1), []
    count, scale = int(rng.integers(3, 10)), rng.uniform(0.75, 1.3)
    for _ in range(count):
        kind = int(rng.integers(3)) if rng.random() < 0.8 else None
        shape_of = SHAPES[kind] if kind is not None else DISTRACTORS[rng.integers(len(DISTRACTORS))]
        size = OVERSAMPLING * scale * np.exp(rng.uniform(np.log(9), np.log(26)))
        for _ in range(10):
            pieces, axis = place(rng, shape_of, size, shape)
            mask, overlap_allowed = silhouette(pieces, shape), rng.random() < 0.25
            if mask.sum() < 0.55 * full_area(pieces) or (not overlap_allowed and (owner[mask] >= 0).any()):
                continue
            left = np.where(mask, len(laid), owner)
            if all((left == number).sum() >= 0.5 * part["area"] for number, part in enumerate(laid)):
                owner = left
                laid.append({"kind": kind, "pieces": pieces, "axis": axis, "area": int(mask.sum())})
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
    picture = np.clip(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), 0, 255)
    noise = rng.standard_normal(picture.shape) * (rng.uniform(0.5, 3.5) + 0.15 * np.sqrt(picture) * rng.random())
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def render(seed, split, number):
    """One picture and its boxes as (class, x centre, y centre, width, height), all relative to the picture."""
    rng = np.random.default_rng([seed, ("train", "val", "test").index(split), number])
    shape = (HEIGHT * OVERSAMPLING, WIDTH * OVERSAMPLING)
    picture = surface(rng, shape)
    around, up = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.2)
    light = np.array([np.cos(around) * np.cos(up), np.sin(around) * np.cos(up), np.sin(up)], np.float32)
    laid, owner = arrange(rng, shape)
    usual = METALS[rng.integers(len(METALS))]
    for part in laid:
        metal = np.array(usual if rng.random() < 0.6 else METALS[rng.integers(len(METALS))]) * rng.uniform(0.75, 1.1)
        paint(picture, rng, part["pieces"], part["axis"], metal.astype(np.float32), light, rng.uniform(0.1, 1.0))
    boxes = []
    for index, part in enumerate(laid):
        if part["kind"] is not None:
            x, y, wide, high = cv2.boundingRect((owner == index).astype(np.uint8)) / np.tile(shape[::-1], 2)
            boxes.append((part["kind"], x + wide / 2, y + high / 2, wide, high))
    return photograph(rng, picture), boxes


def write_pictures(folder, seed, split, count):
    """Write a split's first pictures and their labels the way Ultralytics looks for them."""
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture, boxes = render(seed, split, number)
        name = f"{split}_{number:04d}"
        cv2.imwrite(str(folder / "images" / split / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
        lines = [f"{kind} " + " ".join(f"{value:.6f}" for value in box) + "\n" for kind, *box in boxes]
        (folder / "labels" / split / f"{name}.txt").write_text("".join(lines))


def stand_in_for_torchvision():
    """Ultralytics wants only the NMS of torchvision, and one built for another torch fails to import: lend its own."""
    fake = types.ModuleType("torchvision")
    fake.__spec__, fake.ops = ModuleSpec("torchvision", None), types.ModuleType("torchvision.ops")
    sys.modules.update({"torchvision": fake, "torchvision.ops": fake.ops})
    from ultralytics.utils.nms import TorchNMS

    fake.ops.nms = TorchNMS.nms


def train(scratch, epochs):
    """Train a YOLO11 of an eighth of the full width from scratch; return where its checkpoint lies."""
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_CONFIG_DIR=str(scratch))
    stand_in_for_torchvision()
    from ultralytics import YOLO
    from ultralytics.utils import ROOT, YAML

    architecture = YAML.load(ROOT / "cfg/models/11/yolo11.yaml")
    architecture.update(nc=len(NAMES), scales={"p": [0.50, 0.125, 512]})
    YAML.save(scratch / "parts.yaml", architecture)
    model = YOLO(scratch / "parts.yaml", task="detect")
    model.train(
        data=str(scratch / "data.yaml"),
        imgsz=IMAGE_SIZE,
        epochs=epochs,
        batch=16,
        nbs=16,
        optimizer="AdamW",
        lr0=0.003,
        lrf=0.01,
        cos_lr=True,
        warmup_epochs=1,
        warmup_bias_lr=0.003,
        weight_decay=0.01,
        mosaic=0.0,
        scale=0.15,
        translate=0.08,
        fliplr=0.5,
        flipud=0.5,
        hsv_h=0.01,
        hsv_s=0.3,
        hsv_v=0.3,
        cache="ram",
        workers=1,
        val=False,
        plots=False,
        amp=False,
        pretrained=False,
        device="cpu",
        seed=0,
        project=str(scratch),
        name="run",
    )
    return Path(model.trainer.last)


def write_checkpoint(trained, target):
    """Keep the weights in half precision and what loading and export read; no optimizer, date, path or machine."""
    import torch

    checkpoint = torch.load(trained, map_location="cpu", weights_only=False)
    model = (checkpoint.get("ema") or checkpoint["model"]).half()
    arguments = {"task": "detect", "imgsz": IMAGE_SIZE, "single_cls": False}
    model.args, model.criterion = dict(arguments), None
    model.yaml["yaml_file"] = "parts.yaml"
    model.requires_grad_(False)
    kept = {key: checkpoint[key] for key in ("version", "license", "docs")}
    torch.save({**kept, "epoch": -1, "model": model, "ema": None, "optimizer": None, "train_args": arguments}, target)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("edgecompile/sample"), help="where the sample is written")
    parser.add_argument("--seed", type=int, default=11, help="decides every picture")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--train-pictures", type=int, default=2000, help="rendered for training; 96 of them are kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="make_sample_") as scratch:
        scratch = Path(scratch)
        for split, kept in PACKAGED.items():
            write_pictures(options.out, options.seed, split, kept)
            write_pictures(scratch, options.seed, split, options.train_pictures if split == "train" else kept)
        for folder in (options.out, scratch):
            (folder / "data.yaml").write_text(DATA_YAML)
        write_checkpoint(train(scratch, options.epochs), options.out / "parts.pt")


if __name__ == "__main__":
    main()
