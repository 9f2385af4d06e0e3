"""Rotated boxes: mean average precision by the likeness of two normal distributions with the spread of the boxes, as
Ultralytics' own validation computes it, with its settings and `rect=False`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from edgecompile.data import corner_labels
from edgecompile.data.corner_labels import CornerLabels
from edgecompile.data.label_lines import CheckedLabels, LabelFacts, LabelForm, LabelLines
from edgecompile.evaluate.tasks import Gaps, Outline
from edgecompile.evaluate.tasks._average_precision_task import (
    DEFAULT_CONF,
    AveragePrecisionTask,
    best_first,
)
from edgecompile.json_types import JsonObject
from edgecompile.runtime.spec_document import SpecDocument
from edgecompile.runtime.tasks import Given
from edgecompile.runtime.tasks.obb import RotatedBoxes

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.evaluate.tasks._average_precision_task import Matches

DEFAULT_CONF_ROTATED = 0.01
ANGLE_TOLERANCE = 1e-3
"""Largest allowed difference of an angle, radians: moves the corner of a box of 100 pixels by 0.05."""


class Task(AveragePrecisionTask[RotatedBoxes, CornerLabels]):
    """Rotated boxes."""

    checkpoints: ClassVar[tuple[str, ...]] = ("obb",)
    label_form: ClassVar[LabelForm] = LabelForm.CORNERS
    heads: ClassVar[tuple[str, ...]] = ("OBB", "OBB26")
    embeds: ClassVar[frozenset[str]] = frozenset({"rotated", "end2end"})

    def extra_gaps(self, gaps: np.ndarray, spec: SpecDocument) -> Gaps:
        return {"angle": float(gaps.max(initial=0.0))}

    def tolerances(self, size: Sequence[int]) -> dict[str, float]:
        return {**super().tolerances(size), "angle": ANGLE_TOLERANCE}

    def check_labels(self, lines: LabelLines, facts: LabelFacts) -> CheckedLabels:
        return corner_labels.check_labels(lines, facts)

    def read_labels(self, lines: LabelLines, facts: LabelFacts) -> CornerLabels:
        return corner_labels.read_labels(lines, facts)

    def options(self, settings: Mapping[str, float | int], truth: Sequence[CornerLabels]) -> Given:
        """As in `AveragePrecisionTask`, but that the default of the smallest score is 0.01, as Ultralytics has it for
        rotated boxes; a score that a person chose stays."""
        lowest = DEFAULT_CONF_ROTATED if settings["conf"] == DEFAULT_CONF else settings["conf"]
        return super().options({**settings, "conf": lowest}, truth)

    def judge(self, result: RotatedBoxes, truth: CornerLabels, size: tuple[int, int]) -> Matches:
        from edgecompile.evaluate.average_precision import match
        from edgecompile.runtime.tasks._rotated import overlaps

        alike = overlaps(smallest_boxes(truth.in_pixels(size[1], size[0])), result.xywhr)
        return {"": match(alike, result.scores, result.classes, truth.classes)}

    def places(self, result: RotatedBoxes) -> np.ndarray:
        return result.xywhr

    def likeness(self, places: np.ndarray, others: np.ndarray) -> np.ndarray:
        from edgecompile.runtime.tasks._rotated import overlaps

        return overlaps(places, others)

    def results(self, result: RotatedBoxes) -> list[JsonObject]:
        """Returns the best boxes: `rbox` is centre x, centre y, width, height in pixels and the angle in radians,
        `segmentation` the polygon of the corners."""
        return [
            {
                "category_id": int(result.classes[index]),
                "rbox": [round(float(value), 4) for value in result.xywhr[index]],
                "segmentation": [[round(float(value), 2) for value in result.corners[index].ravel()]],
                "score": round(float(result.scores[index]), 5),
            }
            for index in best_first(result)
        ]

    def outlines(self, golden: Any) -> list[Outline]:
        import numpy as np

        from edgecompile.runtime.tasks._rotated import corners

        turned = np.concatenate(
            (np.reshape(golden["boxes"], (-1, 4)), np.reshape(golden["angles"], (-1, 1))), axis=1, dtype=np.float64
        )
        objects = zip(corners(turned).tolist(), golden["scores"], golden["classes"], strict=True)
        return [Outline(tuple((x, y) for x, y in outline), number, score) for outline, score, number in objects]


def smallest_boxes(corners: np.ndarray) -> np.ndarray:
    """Returns the smallest rotated box around each polygon (n, points, 2), float32 (n, 5): centre x, centre y, the
    longer side, the shorter side, and the angle of the longer side in radians."""
    import cv2
    import numpy as np

    boxes = np.zeros((len(corners), 5), np.float32)
    for box, polygon in zip(boxes, np.asarray(corners, np.float32), strict=True):
        (x, y), (width, height), degrees = cv2.minAreaRect(polygon)
        angle = np.deg2rad(degrees)
        box[:] = (x, y, width, height, angle) if width >= height else (x, y, height, width, angle + np.pi / 2)
    return boxes
