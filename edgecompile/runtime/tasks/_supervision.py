"""Results as `supervision.Detections` (https://supervision.roboflow.com/latest/detection/core/), for its trackers,
zones and annotators, as its `KeyPoints`, and as its `Classifications`. The library is imported here alone, and only
when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypedDict

import numpy as np

from edgecompile.errors import MissingToolError

CLASS_NAME, CORNERS = "class_name", "xyxyxyxy"
"""Keys of `data` that supervision's own annotators look for."""


class Boxed(Protocol):
    """Objects with upright boxes, x1, y1, x2, y2 in pixels of the picture."""

    @property
    def boxes(self) -> np.ndarray: ...

    @property
    def scores(self) -> np.ndarray: ...

    @property
    def classes(self) -> np.ndarray: ...

    def class_name(self, number: int) -> str:
        """Returns the name of a class."""


class SupervisionFields(TypedDict, total=False):
    """What some tasks know beside boxes, scores and classes.

    mask: bool (n, height, width), at the size of the picture.
    data: further arrays of one element an object, by name.
    """

    mask: np.ndarray
    data: Mapping[str, np.ndarray]


def detections_of(
    objects: Boxed, *, mask: np.ndarray | None = None, data: Mapping[str, np.ndarray] | None = None
) -> Any:
    """Returns objects as `supervision.Detections`; arguments as in `SupervisionFields`.

    Raises:
        MissingToolError: supervision is not installed.
    """
    supervision = import_supervision()
    names = np.array([objects.class_name(number) for number in objects.classes.tolist()], dtype=str)
    return supervision.Detections(
        xyxy=objects.boxes,
        mask=mask,
        confidence=objects.scores,
        class_id=objects.classes,
        data={CLASS_NAME: names, **(data or {})},
    )


def key_points_of(objects: Boxed, points: np.ndarray) -> Any:
    """Returns objects as `supervision.KeyPoints`, which has no place for boxes.

    Args:
        points: float32 (n, key points, 3), x and y in pixels of the picture, and confidence.

    Raises:
        MissingToolError: supervision is not installed, or is older than the fields of this.
    """
    supervision = import_supervision()
    names = np.array([objects.class_name(number) for number in objects.classes.tolist()], dtype=str)
    try:
        return supervision.KeyPoints(
            xy=points[..., :2],
            keypoint_confidence=points[..., 2],
            detection_confidence=objects.scores,
            class_id=objects.classes,
            data={CLASS_NAME: names},
        )
    except TypeError as error:
        fix = "pip install 'supervision>=0.29'"
        raise MissingToolError(f"supervision {supervision.__version__} is too old for key points", fix=fix) from error


def classifications_of(probabilities: np.ndarray) -> Any:
    """Returns the probability of each class, float32 (classes,), as `supervision.Classifications`.

    Raises:
        MissingToolError: supervision is not installed.
    """
    supervision = import_supervision()
    return supervision.Classifications(class_id=np.arange(len(probabilities)), confidence=probabilities)


def import_supervision() -> Any:
    """Returns the library.

    Raises:
        MissingToolError: it is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        fix = "pip install supervision"
        raise MissingToolError(f"supervision cannot be imported ({error})", fix=fix) from error
    return supervision
