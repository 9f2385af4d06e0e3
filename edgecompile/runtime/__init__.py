"""The runtime on the device: opens a bundle and predicts, with numpy, OpenCV and one backend.

    import edgecompile.runtime as rt

    model = rt.load("blood-cells.bundle.zip")
    for detection in model.predict("slide.jpg"):
        print(detection.name, round(detection.score, 2), detection.box)

Nothing heavy is imported before it is needed: `import edgecompile.runtime` alone loads neither numpy nor OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.pictures import find_pictures, read_picture
    from edgecompile.runtime.predictor import Predictor, load, open_artifact
    from edgecompile.runtime.tasks.classify import Classification
    from edgecompile.runtime.tasks.detect import Detection, Detections
    from edgecompile.runtime.tasks.obb import RotatedBox, RotatedBoxes
    from edgecompile.runtime.tasks.pose import Pose, Poses
    from edgecompile.runtime.tasks.segment import Segment, Segments

__all__ = [
    "Archive",
    "Classification",
    "Detection",
    "Detections",
    "Pose",
    "Poses",
    "Predictor",
    "RotatedBox",
    "RotatedBoxes",
    "Segment",
    "Segments",
    "find_pictures",
    "load",
    "open_artifact",
    "read_picture",
]

_HOME = {
    "Archive": "archive",
    "Classification": "tasks.classify",
    "Detection": "tasks.detect",
    "Detections": "tasks.detect",
    "Pose": "tasks.pose",
    "Poses": "tasks.pose",
    "Predictor": "predictor",
    "RotatedBox": "tasks.obb",
    "RotatedBoxes": "tasks.obb",
    "Segment": "tasks.segment",
    "Segments": "tasks.segment",
    "find_pictures": "pictures",
    "load": "predictor",
    "open_artifact": "predictor",
    "read_picture": "pictures",
}


def __getattr__(name: str) -> Any:
    """Imports the module that a public name stands in, when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
