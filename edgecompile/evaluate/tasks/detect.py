"""Detection: mean average precision as Ultralytics' own validation computes it, with its settings and `rect=False`.

Every class above a low threshold counts; overlaps are judged on boxes that are not cut at the border of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from edgecompile.data import box_labels
from edgecompile.data.box_labels import BoxLabels
from edgecompile.data.label_lines import CheckedLabels, LabelFacts, LabelForm, LabelLines
from edgecompile.evaluate.tasks import Outline
from edgecompile.evaluate.tasks._average_precision_task import AveragePrecisionTask, best_first, box_outlines
from edgecompile.json_types import JsonObject
from edgecompile.runtime.tasks.detect import Detections

if TYPE_CHECKING:
    from edgecompile.evaluate.tasks._average_precision_task import Matches

FEWEST_POSES = 10
"""Objects from which it is no accident that all of them read as poses."""


class Task(AveragePrecisionTask[Detections, BoxLabels]):
    """Detection."""

    checkpoints: ClassVar[tuple[str, ...]] = ("detect",)
    label_form: ClassVar[LabelForm] = LabelForm.BOXES
    heads: ClassVar[tuple[str, ...]] = ("Detect", "v10Detect", "RTDETRDecoder", "WorldDetect", "YOLOEDetect")

    def check_labels(self, lines: LabelLines, facts: LabelFacts) -> CheckedLabels:
        return box_labels.check_labels(lines, facts)

    def label_remarks(self, checked: Sequence[CheckedLabels]) -> list[str]:
        """Returns the remark that key points are left out, or that labels may be those of poses, of which the data set
        says nothing."""
        if poses := sum(labels.poses for labels in checked):
            return [f"{poses} objects are labelled with a box and key points (kpt_shape); their boxes alone count"]
        objects, widths = (
            sum(labels.objects for labels in checked),
            frozenset().union(*(labels.widths for labels in checked)),
        )
        if objects < FEWEST_POSES or len(widths) != 1 or sum(labels.maybe_poses for labels in checked) < objects:
            return []
        (width,) = widths
        return [
            f"each line of labels has {width} values and reads as a box with key points in it, as well as a polygon of "
            f"{width // 2} points, as which it is taken: if these are poses, their figures mean nothing"
        ]

    def read_labels(self, lines: LabelLines, facts: LabelFacts) -> BoxLabels:
        return box_labels.read_labels(lines, facts)

    def judge(self, result: Detections, truth: BoxLabels, size: tuple[int, int]) -> Matches:
        from edgecompile.evaluate.average_precision import match, overlaps

        shared = overlaps(truth.in_pixels(size[1], size[0]), result.boxes)
        return {"": match(shared, result.scores, result.classes, truth.classes)}

    def results(self, result: Detections) -> list[JsonObject]:
        """Returns the best detections in COCO's results format: bbox is x, y, width, height in pixels."""
        results: list[JsonObject] = []
        for index in best_first(result):
            x1, y1, x2, y2 = (float(value) for value in result.boxes[index])
            results.append(
                {
                    "category_id": int(result.classes[index]),
                    "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                    "score": round(float(result.scores[index]), 5),
                }
            )
        return results

    def outlines(self, golden: Any) -> list[Outline]:
        return box_outlines(golden)
