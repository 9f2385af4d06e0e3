"""Makes narrow models that nobody has trained, and labels for them, by which their mAP is far from 0 and from 1.

    python bench/untrained.py rtdetr PICTURES OUT

A model has weights from a seed. Statistics of its normalizations are those of the pictures, and its last layers are
scaled so that scores spread as those of a trained model do. Labels are its own best predictions, moved a little: so
each rank and each overlap counts for mAP, and two programs that agree on it agree on every step from picture to box.

Writes OUT/NAME.pt and a data set beside it whose split `val` has the pictures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

IMAGE_SIZE = 192
DEPTH, WIDTH, MOST_CHANNELS = 0.5, 0.125, 512
"""Of architectures that have scales."""
CLASSES = 3
OBJECTS = 6
"""Labels for each picture, in the mean."""
MOVED = 0.04
"""How far labels are moved at most, in sides of the box."""


@dataclass(frozen=True)
class Kind:
    """An architecture: the file that describes it, its task, where that is no plain one its class, and its width."""

    file: str
    task: str = "detect"
    make: str = ""
    width: float = WIDTH


MAKES = {
    "detect": "DetectionModel",
    "segment": "SegmentationModel",
    "pose": "PoseModel",
    "obb": "OBBModel",
    "classify": "ClassificationModel",
}
# Models of an open vocabulary are not here: Ultralytics validates them with a text encoder that is no part of theirs.
KINDS = {
    "rtdetr": Kind("v8/yolov8-rtdetr", make="RTDETRDetectionModel"),
    "yolov5u": Kind("v5/yolov5"),
    "yolov8": Kind("v8/yolov8"),
    "yolov8-seg": Kind("v8/yolov8-seg", "segment"),
    "yolov8-pose": Kind("v8/yolov8-pose", "pose"),
    "yolov8-obb": Kind("v8/yolov8-obb", "obb"),
    "yolov8-cls": Kind("v8/yolov8-cls", "classify"),
    "yolov9": Kind("v9/yolov9t"),
    "yolov10": Kind("v10/yolov10n"),
    "yolo12": Kind("12/yolo12", "detect", width=0.25),
    "yolo12-seg": Kind("12/yolo12-seg", "segment", width=0.25),
    "yolo12-pose": Kind("12/yolo12-pose", "pose", width=0.25),
    "yolo12-obb": Kind("12/yolo12-obb", "obb", width=0.25),
    "yolo12-cls": Kind("12/yolo12-cls", "classify"),
    "yolo26": Kind("26/yolo26"),
    "yolo26-seg": Kind("26/yolo26-seg", "segment"),
    "yolo26-pose": Kind("26/yolo26-pose", "pose"),
    "yolo26-obb": Kind("26/yolo26-obb", "obb"),
    "yolo26-cls": Kind("26/yolo26-cls", "classify"),
}


def made(name: str, pictures: list[Path]):
    """Returns a model of some kind, settled on pictures."""
    import torch
    from ultralytics.nn import tasks
    from ultralytics.utils import ROOT, YAML

    torch.manual_seed(0)
    kind = KINDS[name]
    architecture = YAML.load(ROOT / f"cfg/models/{kind.file}.yaml")
    architecture.update(nc=CLASSES, yaml_file=f"{name}.yaml")
    if "scales" in architecture:
        architecture.update(scales={"p": [DEPTH, kind.width, MOST_CHANNELS]}, scale="p")
    if kind.task == "pose":
        architecture["kpt_shape"] = [3, 3]
    model = getattr(tasks, kind.make or MAKES[kind.task])(architecture, ch=3, verbose=False)
    model.names, model.args, model.task = {0: "a", 1: "b", 2: "c"}, {}, kind.task
    model = model.eval()
    stack = torch.stack([_read(path) for path in pictures])
    with torch.no_grad():
        _settle(model, stack)
        for modules in _last_layers(model):
            _spread(model, stack, modules)
    return model


def _read(path: Path):
    import cv2
    import torch

    pixels = cv2.resize(cv2.imread(str(path)), (IMAGE_SIZE, IMAGE_SIZE))[:, :, ::-1]
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float() / 255


def _settle(model, stack) -> None:
    """Gives normalizations the statistics of pictures."""
    import torch

    normalizations = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for module in normalizations:
        module.train()
        module.reset_running_stats()
        module.momentum = None
    noise = torch.rand(len(stack), *stack.shape[1:])  # an export is compared on it: it has edges that pictures lack
    model(torch.cat((stack, noise)))
    for module in normalizations:
        module.running_var.clamp_(min=module.running_var.mean() / 4)  # what hardly varies is not made large
        module.eval()


def _last_layers(model) -> list[list[tuple[object, float, float]]]:
    """Returns the layers that put out scores and boxes with the mean and spread that their numbers are to have; those
    of a list that follow others come later."""
    head = model.model[-1]
    kind = type(head).__name__
    if kind == "Classify":
        return [[(head.linear, 0.0, 2.0)]]
    if kind == "RTDETRDecoder":
        first = [(head.enc_score_head, -3.0, 2.0), (head.enc_bbox_head.layers[-1], 0.0, 0.3)]
        others = [(layer.layers[-1], 0.0, 0.3) for layer in head.dec_bbox_head]
        return [first, [*others, (head.dec_score_head[-1], -3.0, 1.5)]]
    box = (0.0, 1.0) if head.reg_max > 1 else (2.0, 0.5)
    layers = []
    for before in ("", "one2one_"):
        boxes, scores = getattr(head, f"{before}cv2", None), getattr(head, f"{before}cv3", None)
        if boxes is None or scores is None:
            continue
        layers += [(layer[-1], *box) for layer in boxes]
        layers += [(layer[-1], -4.0, 1.5) for layer in scores]
    return [layers]


def _spread(model, stack, layers) -> None:
    """Scales layers so that what they put out has a mean and a spread."""
    seen = {}
    hooks = [
        layer.register_forward_hook(lambda module, _, output: seen.__setitem__(module, (output.mean(), output.std())))
        for layer, *_ in layers
    ]
    for layer, *_ in layers:  # some begin with nothing
        if hasattr(layer, "weight") and not layer.weight.any():
            layer.weight.normal_(0, 0.1)
    model(stack)
    for hook in hooks:
        hook.remove()
    for layer, mean, spread in layers:
        if layer not in seen:
            continue
        before, factor = seen[layer][0], spread / seen[layer][1]
        layer.weight *= factor
        layer.bias.copy_((layer.bias - before) * factor + mean)


def write_labels(weights: Path, task: str, pictures: list[Path], out: Path) -> int:
    """Writes a data set whose labels are a model's best predictions; returns how many there are."""
    from ultralytics import YOLO

    model, noise = YOLO(weights, task=task), np.random.default_rng(0)
    if task == "classify":
        for path in pictures:
            (found,) = model.predict(path, imgsz=IMAGE_SIZE, verbose=False)
            number = found.probs.top1 if noise.random() < 0.8 else found.probs.top5[1]
            (out / "val" / found.names[number]).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, out / "val" / found.names[number])
        return len(pictures)
    for folder in ("images", "labels"):
        (out / folder / "val").mkdir(parents=True, exist_ok=True)
    lines: list[tuple[float, str, str]] = []
    for path in pictures:
        shutil.copy(path, out / "images/val")
        (out / "labels/val" / f"{path.stem}.txt").touch()
        (found,) = model.predict(path, imgsz=IMAGE_SIZE, rect=False, conf=0.01, max_det=50, verbose=False)
        scores = (found.obb if task == "obb" else found.boxes).conf.tolist()
        for score, object_ in zip(scores, _objects(found, task), strict=True):
            if line := _line(object_, noise):
                lines.append((score, path.stem, line))
    best = sorted(lines, reverse=True)[: OBJECTS * len(pictures)]  # of all pictures: their scores compare
    for _, stem, line in best:
        with (out / "labels/val" / f"{stem}.txt").open("a") as file:
            file.write(line)
    extra = "kpt_shape: [3, 3]\nflip_idx: [0, 1, 2]\n" if task == "pose" else ""
    (out / "data.yaml").write_text(f"train: images/val\nval: images/val\n{extra}names: [a, b, c]\n")
    return len(best)


def _objects(found, task: str):
    """Yields the class of each object, the numbers of its label that may be moved, and of those that state points the
    third of each, which may not."""
    boxes = found.obb if task == "obb" else found.boxes
    for index, number in enumerate(boxes.cls.int().tolist() if boxes is not None else []):
        if task == "obb":
            yield number, boxes.xyxyxyxyn[index].numpy().reshape(-1, 2), None
        elif task == "segment":
            yield number, found.masks.xyn[index].reshape(-1, 2), None
        else:
            points = found.keypoints.xyn[index].numpy() if task == "pose" else None
            yield number, boxes.xywhn[index].numpy().reshape(2, 2), points


def _line(object_, noise) -> str:
    """Returns the line of a label, moved a little; none where it would leave the picture or be too small."""
    number, points, key_points = object_
    if len(points) < 2:
        return ""
    is_box = len(points) == 2
    size = points[1] if is_box else np.ptp(points, axis=0)
    if (size < 0.04).any():
        return ""
    shift = noise.uniform(-MOVED, MOVED, 2) * size
    moved = (
        np.stack((points[0] + shift, points[1] * noise.uniform(1 - MOVED, 1 + MOVED, 2))) if is_box else points + shift
    )
    corners = np.stack((moved[0] - moved[1] / 2, moved[0] + moved[1] / 2)) if is_box else moved
    if (corners < 0).any() or (corners > 1).any():
        return ""
    values = list(moved.ravel())
    if key_points is not None:
        near = key_points + noise.normal(0, MOVED, key_points.shape) * size
        if (near < 0).any() or (near > 1).any():
            return ""
        values += [value for x, y in near for value in (x, y, 2)]
    return " ".join([str(number), *(f"{value:.6f}" for value in values)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=KINDS)
    parser.add_argument("pictures", type=Path, help="folder of the pictures")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=16, help="how many of the pictures")
    options = parser.parse_args()
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp())
    import torch
    import ultralytics_without_torchvision  # noqa: F401

    torch.set_num_threads(1)
    pictures = sorted(options.pictures.glob("*.jpg"))[: options.count]
    options.out.mkdir(parents=True, exist_ok=True)
    weights = options.out / f"{options.name}.pt"
    torch.save({"model": made(options.name, pictures), "train_args": {"imgsz": IMAGE_SIZE}}, weights)
    count = write_labels(weights, KINDS[options.name].task, pictures, options.out)
    print(f"{weights}: {count} labels on {len(pictures)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
