"""Names that are published: checkpoints and small data sets that `edgecompile fetch` downloads. Pure data.

Checkpoints are assets of github.com/ultralytics/assets (AGPL-3.0). The class names are those of the COCO data set.
"""

from __future__ import annotations

import re

CHECKPOINT = re.compile(
    r"(yolov5[nsmlx]6?u|yolov8[nsmlx]|yolov9[tsmce]|yolov10[nsmblx]|yolo11[nsmlx]|yolo12[nsmlx]|yolo26[nsmlx])\.pt"
)
"""Detection checkpoints by file name."""

DATASETS = ("coco8.yaml", "coco128.yaml")

FAMILIES = "yolov5nu.pt … yolov8n.pt, yolov9t.pt, yolov10n.pt, yolo11n.pt, yolo12n.pt, yolo26n.pt (and sizes s m l x)"
"""What `fetch` knows, for people."""

EXAMPLES = (
    *DATASETS,
    *(f"{family}{size}.pt" for family in ("yolov8", "yolov10", "yolo11", "yolo12", "yolo26") for size in "nsmlx"),
    *(f"yolov5{size}u.pt" for size in "nsmlx"),
    *(f"yolov9{size}.pt" for size in "tsmce"),
)
"""Published names, to find the name nearest to a misspelt name."""

COCO_CLASSES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors,
teddy bear, hair drier, toothbrush
"""
"""The 80 classes of COCO in the order of their numbers, for people and for the data.yaml of what is fetched."""


def is_published(name: str) -> bool:
    """Returns whether `edgecompile fetch` knows a name."""
    return name in DATASETS or CHECKPOINT.fullmatch(name) is not None
