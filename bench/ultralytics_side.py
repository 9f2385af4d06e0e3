"""What Ultralytics itself says and makes, to compare with: `val` and `export`, each in a process of its own.

    python bench/ultralytics_side.py val WEIGHTS DATA --imgsz 320 --split test
    python bench/ultralytics_side.py export WEIGHTS DATA --imgsz 320 --out DIR

Prints one JSON object as the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path


def val(arguments: argparse.Namespace) -> dict:
    """Returns the figures of Ultralytics' own validation, square pictures (rect=False) and its default thresholds."""
    from ultralytics import YOLO

    found = YOLO(arguments.weights, task=arguments.task).val(
        data=str(Path(arguments.data).resolve()),
        imgsz=arguments.imgsz,
        split=arguments.split,
        rect=False,
        batch=1,  # suppression ends after 2 s and 0.05 s a picture: what is left of a stack would count as empty
        plots=False,
        verbose=False,
        workers=0,
        device="cpu",
        project=tempfile.mkdtemp(),
    )
    own = {"segment": "seg", "pose": "pose"}.get(arguments.task)
    if own is None:
        return {"map50_95": found.box.map, "map50": found.box.map50, "per_class": found.box.maps.tolist()}
    main = getattr(found, own)
    return {
        "map50_95": main.map,
        "map50": main.map50,
        "box_map50_95": found.box.map,
        "box_map50": found.box.map50,
        "per_class": main.maps.tolist(),
    }


def val_classify(arguments: argparse.Namespace) -> dict:
    """Returns top-1 and top-5 of a classifier on the folders of a split, by the arithmetic of Ultralytics' validation.

    Its `val` builds its transforms with torchvision, which may not be there: the shortest side is scaled by Pillow's
    antialiased bilinear filter, the middle is cut out, and values are scaled to 0..1.
    """
    import torch
    from PIL import Image, ImageOps
    from ultralytics import YOLO

    model = YOLO(arguments.weights, task="classify").model.float().eval()
    numbers = {name: number for number, name in model.names.items()}
    size, ranks = arguments.imgsz, []
    for file in sorted(Path(arguments.data, arguments.split).glob("*/*")):
        picture = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
        width, height = picture.size
        scaled = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
        picture = picture.resize(scaled, Image.Resampling.BILINEAR)
        left, top = round((scaled[0] - size) / 2), round((scaled[1] - size) / 2)
        picture = picture.crop((left, top, left + size, top + size))
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).reshape(size, size, 3)
        with torch.inference_mode():
            found = model(pixels.permute(2, 0, 1)[None].float() / 255)
        scores = (found[0] if isinstance(found, tuple | list) else found)[0]
        ranks.append(scores.argsort(descending=True).tolist().index(numbers[file.parent.name]))
    return {f"top{most}": sum(rank < most for rank in ranks) / len(ranks) for most in (1, 5)}


def export(arguments: argparse.Namespace) -> dict:
    """Exports OpenVINO INT8 and moves the result to `out`; the checkpoint is copied first: the export lies by it."""
    from ultralytics import YOLO

    with tempfile.TemporaryDirectory() as folder:
        weights = shutil.copy(arguments.weights, folder)
        made = YOLO(weights).export(
            format="openvino",
            quantize=8,
            data=str(Path(arguments.data).resolve()),
            imgsz=arguments.imgsz,
            verbose=False,
        )
        target = Path(arguments.out) / Path(made).name
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(made, target)
    return {"path": str(target)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, function in (("val", val), ("val-classify", val_classify), ("export", export)):
        one = verbs.add_parser(verb)
        one.add_argument("weights")
        one.add_argument("data")
        one.add_argument("--imgsz", type=int, default=320)
        one.add_argument("--split", default="val")
        one.add_argument("--out", default=".")
        one.add_argument("--task", default="detect")
        one.set_defaults(function=function)
    arguments = parser.parse_args()
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp())
    import ultralytics_without_torchvision  # noqa: F401

    print(json.dumps(arguments.function(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
