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

    box = (
        YOLO(arguments.weights, task="detect")
        .val(
            data=str(Path(arguments.data).resolve()),
            imgsz=arguments.imgsz,
            split=arguments.split,
            rect=False,
            plots=False,
            verbose=False,
            workers=0,
            device="cpu",
            project=tempfile.mkdtemp(),
        )
        .box
    )
    return {"map50_95": box.map, "map50": box.map50, "per_class": box.maps.tolist()}


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
    for verb, function in (("val", val), ("export", export)):
        one = verbs.add_parser(verb)
        one.add_argument("weights")
        one.add_argument("data")
        one.add_argument("--imgsz", type=int, default=320)
        one.add_argument("--split", default="val")
        one.add_argument("--out", default=".")
        one.set_defaults(function=function)
    arguments = parser.parse_args()
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp())
    import ultralytics_without_torchvision  # noqa: F401

    print(json.dumps(arguments.function(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
