"""Poses: mean average precision by object key point similarity, and by boxes, as Ultralytics' own validation computes
them, with its settings and `rect=False`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from edgecompile.data import key_point_labels
from edgecompile.data.key_point_labels import KeyPointLabels
from edgecompile.data.label_lines import CheckedLabels, LabelFacts, LabelForm, LabelLines
from edgecompile.errors import RecipeError, StepError
from edgecompile.evaluate.tasks import Gaps, Metric, Outline, OutputFacts, StatedFacts
from edgecompile.evaluate.tasks._average_precision_task import (
    BOX_TOLERANCE,
    SCORE_TOLERANCE,
    AveragePrecisionTask,
    best_first,
    box_outlines,
)
from edgecompile.json_types import JsonObject
from edgecompile.runtime.spec_document import SpecDocument
from edgecompile.runtime.tasks.pose import PoseDocument, Poses

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.evaluate.tasks._average_precision_task import Matches

AREA_OF_BOX = 0.53
"""Share of its box that an object covers, by which the similarity is weighed."""


class Task(AveragePrecisionTask[Poses, KeyPointLabels]):
    """Poses."""

    checkpoints: ClassVar[tuple[str, ...]] = ("pose",)
    label_form: ClassVar[LabelForm] = LabelForm.KEY_POINTS
    heads: ClassVar[tuple[str, ...]] = ("Pose", "Pose26")
    metrics: ClassVar[tuple[Metric, ...]] = (
        *AveragePrecisionTask.metrics,
        Metric("box_map50_95", "box mAP50-95"),
        Metric("box_map50", "box mAP50"),
    )

    def describe(self, outputs: Sequence[OutputFacts], decode: str, stated: StatedFacts) -> JsonObject:
        """Adds `key_points`: how many there are, and of how many values.

        Raises:
            StepError: the weights do not state it.
        """
        if "kpt_shape" not in stated:
            raise StepError("the model does not say how many key points it puts out (kpt_shape)")
        count, values = stated["kpt_shape"]
        key_points = {"count": int(count), "values": int(values)}
        return {**super().describe(outputs, decode, stated), "key_points": key_points}

    def extra_gaps(self, gaps: np.ndarray, spec: SpecDocument) -> Gaps:
        stated = cast("PoseDocument", spec)["key_points"]
        by_point = gaps.reshape(-1, stated["count"], stated["values"])
        parts = {"key points": float(by_point[..., :2].max(initial=0.0))}
        return parts if stated["values"] == 2 else {**parts, "visibility": float(by_point[..., 2].max(initial=0.0))}

    def tolerances(self, size: Sequence[int]) -> dict[str, float]:
        return {
            **super().tolerances(size),
            "key points": BOX_TOLERANCE * max(size),
            "visibility": SCORE_TOLERANCE,
        }

    def check_labels(self, lines: LabelLines, facts: LabelFacts) -> CheckedLabels:
        return key_point_labels.check_labels(lines, facts)

    def fact_problems(self, facts: LabelFacts) -> Sequence[str]:
        return key_point_labels.fact_problems(facts)

    def read_labels(self, lines: LabelLines, facts: LabelFacts) -> KeyPointLabels:
        return key_point_labels.read_labels(lines, facts)

    def judge(self, result: Poses, truth: KeyPointLabels, size: tuple[int, int]) -> Matches:
        """As `Task.judge`.

        Raises:
            RecipeError: the labels have another number of key points than the model.
        """
        import numpy as np

        from edgecompile.evaluate.average_precision import match, overlaps

        labelled, found = truth.key_points.shape[1], result.key_points.shape[1]
        if labelled != found:
            raise RecipeError(
                f"the model puts out {found} key points of an object, and the data set labels {labelled} (kpt_shape)",
                fix="name the data set that the model was trained for",
            )
        height, width = size
        boxes = truth.boxes * np.array([width, height, width, height], np.float32)
        alike = similarity(truth.key_points * np.array([width, height, 1], np.float32), boxes, truth.sigmas, result)
        return {
            "": match(alike, result.scores, result.classes, truth.classes),
            "box_": match(overlaps(boxes, result.boxes), result.scores, result.classes, truth.classes),
        }

    def results(self, result: Poses) -> list[JsonObject]:
        """Returns the best objects in COCO's format for key points: bbox is x, y, width, height in pixels."""
        results: list[JsonObject] = []
        for index in best_first(result):
            x1, y1, x2, y2 = (float(value) for value in result.boxes[index])
            results.append(
                {
                    "category_id": int(result.classes[index]),
                    "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                    "score": round(float(result.scores[index]), 5),
                    "keypoints": [round(float(value), 2) for value in result.key_points[index].ravel()],
                }
            )
        return results

    def outlines(self, golden: Any) -> list[Outline]:
        return box_outlines(golden)


def similarity(points: np.ndarray, boxes: np.ndarray, sigmas: Sequence[float], found: Poses) -> np.ndarray:
    """Returns the object key point similarity of labelled objects with those found, float32 (m, n), 0..1.

    It is the mean over the labelled key points of exp(-d^2 / (2 area (2 sigma)^2)), where d is how far a point is off
    (https://cocodataset.org/#keypoints-eval); how visible the model takes a point to be does not matter.

    Args:
        points: (m, key points, 3) in pixels, and visibility: points of 0 do not count.
        boxes: (m, 4) around the objects, in pixels.
        sigmas: one a key point.
    """
    import numpy as np

    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) * np.float32(AREA_OF_BOX)
    weights = (2 * np.array(sigmas, np.float32)) ** 2 * (areas[:, None] + np.float32(1e-7)) * 2
    labelled = points[..., 2] != 0
    alike = np.zeros((len(points), len(found)), np.float32)
    for number, one in enumerate(points):  # one by one: all objects with all found would be of many megabytes
        apart = ((one[None, :, :2] - found.key_points[..., :2]) ** 2).sum(-1)
        alike[number] = (np.exp(-apart / weights[number]) * labelled[number]).sum(-1)
    return alike / (labelled.sum(-1)[:, None].astype(np.float32) + np.float32(1e-7))
