"""Trains a narrow YOLO11 with Ultralytics, and writes its weights without anything of this machine."""

import os
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

from sample.labels import KEY_POINTS, NAMES
from sample.pictures import KINDS

SUFFIX = {"detect": "", "segment": "-seg", "obb": "-obb", "pose": "-pose", "classify": "-cls"}
IMAGE_SIZE = {"detect": 256, "classify": 64}  # what the model is trained, measured and exported at
SMALL_IMAGE_SIZE = 192
SCALE = {"detect": [0.50, 0.125, 512]}  # depth, width, most channels
SMALL_SCALE = [0.50, 0.125, 384]
COMMON = {
    "optimizer": "AdamW",
    "lr0": 0.003,
    "lrf": 0.01,
    "cos_lr": True,
    "warmup_epochs": 1,
    "warmup_bias_lr": 0.003,
    "weight_decay": 0.01,
    "mosaic": 0.0,
    "scale": 0.15,
    "translate": 0.08,
    "fliplr": 0.5,
    "flipud": 0.5,
    "hsv_h": 0.01,
    "hsv_s": 0.3,
    "hsv_v": 0.3,
    "cache": "ram",
    "workers": 1,
    "val": False,
    "plots": False,
    "amp": False,
    "device": "cpu",
    "seed": 0,
    "name": "run",
}
OF_TASK = {
    "classify": {"batch": 64, "nbs": 64, "scale": 0.3, "auto_augment": None, "erasing": 0.0, "cache": False},
    # Whatever lies on a tray may lie there turned by any angle.
    "obb": {"degrees": 180.0},
}


def image_size(task):
    return IMAGE_SIZE.get(task, SMALL_IMAGE_SIZE)


def prepare(scratch):
    """Keep Ultralytics from fetching and from the user's settings; lend it what it wants of torchvision."""
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_CONFIG_DIR=str(scratch))
    if not import_torchvision():
        fake = types.ModuleType("torchvision")
        fake.__spec__, fake.ops = ModuleSpec("torchvision", None), types.ModuleType("torchvision.ops")
        sys.modules.update({"torchvision": fake, "torchvision.ops": fake.ops})
    from ultralytics.utils.nms import TorchNMS

    sys.modules["torchvision"].ops.nms = TorchNMS.nms


def import_torchvision():
    """Whether torchvision is here: its transforms, which classification needs, and its datasets. One built for another
    torch lacks its operators and fails to import where it describes them; the description is left out then."""
    import torch

    register = torch.library.register_fake

    def register_others(operator, *words, **options):
        of_torchvision = isinstance(operator, str) and operator.startswith("torchvision::")
        return (lambda function: function) if of_torchvision else register(operator, *words, **options)

    torch.library.register_fake = register_others
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return False
    finally:
        torch.library.register_fake = register
    return True


def train(scratch, task, epochs, first=None):
    """Train a YOLO11 of an eighth of the full width, from scratch or beginning with the weights of another one as far
    as their shapes are the same; return where its checkpoint lies."""
    prepare(scratch)
    from ultralytics import YOLO
    from ultralytics.utils import ROOT, YAML

    architecture = YAML.load(ROOT / f"cfg/models/11/yolo11{SUFFIX[task]}.yaml")
    classes = KINDS if task == "classify" else NAMES
    architecture.update(nc=len(classes), scales={"p": SCALE.get(task, SMALL_SCALE)})
    if task == "pose":
        architecture["kpt_shape"] = [len(KEY_POINTS), 3]
    YAML.save(scratch / "parts.yaml", architecture)
    model = YOLO(scratch / "parts.yaml", task=task)
    data = scratch if task == "classify" else scratch / "data.yaml"
    given = {**COMMON, "batch": 16, "nbs": 16, "pretrained": str(first) if first else False}
    given |= OF_TASK.get(task, {})
    model.train(data=str(data), imgsz=image_size(task), epochs=epochs, project=str(scratch), **given)
    return Path(model.trainer.last)


def write_checkpoint(trained, target, task="detect"):
    """Keep the weights in half precision and what loading and export read; no optimizer, date, path or machine."""
    import torch

    checkpoint = torch.load(trained, map_location="cpu", weights_only=False)
    model = (checkpoint.get("ema") or checkpoint["model"]).half()
    arguments = {"task": task, "imgsz": image_size(task), "single_cls": False}
    model.args, model.criterion = dict(arguments), None
    for name in ("transforms", "pt_path"):  # of the training's pictures; where the first weights lay
        model.__dict__.pop(name, None)
    model.yaml["yaml_file"] = "parts.yaml"
    model.requires_grad_(False)
    kept = {key: checkpoint[key] for key in ("version", "license", "docs")}
    torch.save({**kept, "epoch": -1, "model": model, "ema": None, "optimizer": None, "train_args": arguments}, target)


def measure(weights, data, task):
    """The figures of Ultralytics' own validation on the held-out pictures, by their names there."""
    from ultralytics import YOLO

    given = {"imgsz": image_size(task), "rect": False, "device": "cpu", "batch": 8, "workers": 0, "plots": False}
    found = YOLO(weights, task=task).val(data=str(data), split="val", project=str(data.parent), **given)
    return {name: round(float(value), 4) for name, value in found.results_dict.items()}
