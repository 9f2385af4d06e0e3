"""What Ultralytics itself says of a classifier, in a process of its own: its `val`, and `predict` of each picture.

    python ultralytics_classification.py WEIGHTS FOLDER IMGSZ SCRATCH

FOLDER holds `val/<class>/<picture>`. Prints one JSON object as the last line; nothing but {} without torchvision.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def main(weights: str, folder: str, imgsz: str, scratch: str) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    from sample.training import import_torchvision, prepare

    prepare(Path(scratch))
    if not import_torchvision():
        print("{}")
        return
    from ultralytics import YOLO

    common = {"imgsz": json.loads(imgsz), "verbose": False, "device": "cpu", "project": scratch}
    model = YOLO(weights)
    figures = model.val(data=folder, split="val", workers=0, plots=False, **common) if figures_too(imgsz) else None
    pictures = sorted((Path(folder) / "val").rglob("*.*"))
    model = YOLO(weights)  # a validation fuses its model
    found = {picture.name: model.predict(str(picture), **common)[0].probs for picture in pictures}
    said = {
        "probabilities": {name: probs.data.tolist() for name, probs in found.items()},
        "top5": {name: probs.top5 for name, probs in found.items()},
    }
    print(json.dumps({**said, **({"figures": [figures.top1, figures.top5]} if figures else {})}))


def figures_too(imgsz: str) -> bool:
    """Whether `val` takes pictures of the size: of squares only."""
    return not imgsz.startswith("[")


if __name__ == "__main__":
    main(*sys.argv[1:])
