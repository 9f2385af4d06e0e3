"""Writes the pictures and labels of a YOLO data set as COCO's JSON, in full precision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2


def as_coco(pictures: Sequence[Path], labels: Sequence[Path], names: Sequence[str]) -> dict[str, Any]:
    """Returns a document of boxes; category ids begin at 1, as COCO's do."""
    images, annotations = [], []
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        height, width = cv2.imread(str(picture)).shape[:2]
        images.append({"id": number, "file_name": picture.name, "width": width, "height": height})
        for line in label.read_text().splitlines():
            category, x, y, across, down = map(float, line.split())
            box = [(x - across / 2) * width, (y - down / 2) * height, across * width, down * height]
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": int(category) + 1,
                    "bbox": box,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number + 1, "name": name, "supercategory": "part"} for number, name in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(file: Path, document: dict[str, Any]) -> Path:
    """Writes a document and returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))
    return file
