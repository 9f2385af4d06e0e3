"""Lets Ultralytics run where torchvision is missing, or does not fit the installed torch.

Ultralytics asks torchvision for one thing on the way from a picture to boxes: `torchvision.ops.nms`. Its own
`TorchNMS.nms` gives the same boxes ("matches torchvision behavior exactly", ultralytics/utils/nms.py). Importing this
module puts a stand-in for torchvision into `sys.modules` whose `ops.nms` calls it, and sets the variables that keep
Ultralytics from installing, fetching and unpickling anything. Import it before ultralytics.

The stand-in is for benchmarks only; with a working torchvision set BENCH_TORCHVISION=1 and nothing is replaced.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import types

SAFE = {
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "true",
    "YOLO_VERBOSE": "false",
    "ULTRALYTICS_SAFE_LOAD": "1",
}


def nms(boxes, scores, iou_threshold):
    """Returns the kept indices, as `torchvision.ops.nms` does."""
    from ultralytics.utils.nms import TorchNMS

    return TorchNMS.nms(boxes, scores, iou_threshold)


def install() -> None:
    """Puts the stand-in in place, unless BENCH_TORCHVISION says to use the real one."""
    for name, value in SAFE.items():
        os.environ.setdefault(name, value)
    if os.environ.get("BENCH_TORCHVISION") == "1":
        return
    package, ops = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
    package.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
    package.__version__ = "0.0.0"
    package.ops, ops.nms = ops, nms
    sys.modules["torchvision"], sys.modules["torchvision.ops"] = package, ops


install()
