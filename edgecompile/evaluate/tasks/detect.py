"""Detection: mean average precision as Ultralytics' own validation computes it, with its settings and `rect=False`.

Every class above a low threshold counts; overlaps are judged on boxes that are not cut at the border of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from edgecompile.data import yolo_labels
from edgecompile.data.yolo_labels import CheckedLabels, Labels
from edgecompile.evaluate import tasks
from edgecompile.evaluate.class_names import unique_names
from edgecompile.evaluate.tasks import Accuracy, Gaps, Metric, Outline, OutputFacts, Setting
from edgecompile.runtime.spec_document import SpecDocument
from edgecompile.runtime.tasks import detect
from edgecompile.runtime.tasks.detect import Detections

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.evaluate.average_precision import MatchedDetections
    from edgecompile.runtime.spec import Spec

BOX_TOLERANCE = 2e-4
"""Largest allowed difference of a box coordinate, as a fraction of the picture's longer side (0.064 px at 320 px).

Float summation order alone moves boxes by about 1e-5 of the side; a wrong graph by far more than 1e-2."""
SCORE_TOLERANCE = 1e-3
"""Largest allowed difference of a class score (0..1)."""
KEPT_DETECTIONS = 100
"""How many detections a picture keeps in the file of results: the best. All count towards the figures."""
DEFAULT_MAX_DET = 300
FEWEST_POSES = 10
"""Objects from which it is no accident that all of them read as poses."""


class Task(tasks.Task[Detections, Labels, "MatchedDetections"]):
    """Detection."""

    checkpoints: ClassVar[tuple[str, ...]] = ("detect",)
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("map50_95", "mAP50-95"), Metric("map50", "mAP50"))
    drop: ClassVar[Metric] = Metric("map_drop", "mAP50-95 drop")
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("conf", 0.001, "smallest score of a detection that counts"),
        Setting("iou", 0.7, "overlap above which non-maximum suppression drops a box"),
        Setting("max_det", DEFAULT_MAX_DET, "most detections a picture"),
    )

    def describe(self, outputs: Sequence[OutputFacts], decode: str) -> dict[str, Any]:
        """Returns `output` and `nms`; thresholds are those of Ultralytics' `predict`.

        Args:
            outputs: the first holds the boxes.
            decode: "yolo" for (n, 4 + classes, anchors) centre boxes and class scores, which still need non-maximum
                suppression; "end2end" for (n, detections, 6) corners, score and class, which need a threshold only.
        """
        return {
            "output": {"name": outputs[0].name, "shape": list(outputs[0].shape), "decode": decode},
            "nms": {"conf": 0.25, "iou": 0.7, "max_det": 300, "class_agnostic": False},
        }

    def renamed(self, spec: SpecDocument, shapes: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, Any]:
        output = cast("detect.DetectDocument", spec)["output"]
        name = names[0] if names else output["name"]
        return {"output": {**output, "name": name, "shape": list(shapes[0])}}

    def gaps(self, before: Sequence[np.ndarray], after: Sequence[np.ndarray], spec: SpecDocument) -> Gaps:
        """Returns the largest differences of boxes (pixels) and of scores.

        Rows of an end-to-end output whose scores nearly tie may swap places: they are matched, not compared in place.
        """
        import numpy as np

        from edgecompile.evaluate.tasks._row_matching import row_gaps

        if cast("detect.DetectDocument", spec)["output"]["decode"] == "end2end":
            boxes, scores = row_gaps(before[0], after[0], SCORE_TOLERANCE)
            return {"boxes": boxes, "scores": scores}
        gap = np.abs(before[0] - after[0])
        return {"boxes": float(gap[:, :4].max()), "scores": float(gap[:, 4:].max(initial=0.0))}

    def tolerances(self, size: Sequence[int]) -> dict[str, float]:
        return {"boxes": BOX_TOLERANCE * max(size), "scores": SCORE_TOLERANCE}

    def check_labels(self, file: str | Path, classes: int) -> CheckedLabels:
        return yolo_labels.check_labels(file, classes)

    def label_remarks(self, checked: Sequence[CheckedLabels]) -> list[str]:
        """Returns the remark that labels may be those of poses, of which the data.yaml says nothing."""
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

    def read_labels(self, file: Path, classes: int) -> Labels:
        return yolo_labels.read_labels(file, classes)

    def options(self, settings: Mapping[str, float | int], truth: Sequence[Labels]) -> dict[str, Any]:
        """Returns the settings, and that a box stands once for each class and is not cut at the border.

        A default limit on detections that cannot hold all objects is raised, as Ultralytics does in
        `DetectionValidator._check_max_det`; a limit that a person chose is not.
        """
        most = settings["max_det"]
        if most == DEFAULT_MAX_DET:
            most = max([most, *(len(labels.classes) for labels in truth)])
        return {**settings, "max_det": most, "multi_label": True, "clip": False}

    def judge(self, result: Detections, truth: Labels, size: tuple[int, int]) -> MatchedDetections:
        from edgecompile.evaluate.average_precision import compare

        boxes = truth.in_pixels(size[1], size[0])
        return compare(result.boxes, result.scores, result.classes, boxes, truth.classes)

    def accuracy(
        self, judged: Sequence[MatchedDetections], truth: Sequence[Labels], names: tuple[str, ...]
    ) -> Accuracy:
        """Returns the figures as facts, rounded to 6 digits: far finer than they mean anything."""
        from edgecompile.evaluate import average_precision

        shown = unique_names(_named(names, truth))
        classes = average_precision.per_class(judged)
        map50_95, map50 = average_precision.mean(list(classes.values()))
        return Accuracy(
            metrics={"map50_95": round(map50_95, 6), "map50": round(map50, 6)},
            per_class={
                shown[number]: {
                    "map50_95": round(figures.map50_95, 6),
                    "map50": round(figures.map50, 6),
                    "objects": figures.objects,
                }
                for number, figures in classes.items()
            },
            objects=sum(figures.objects for figures in classes.values()),
            found=sum(len(picture.scores) for picture in judged),
        )

    def count_sure(self, result: Detections, spec: Spec) -> int:
        task = spec.task
        lowest = task.conf if isinstance(task, detect.Task) else 0.0
        return int((result.scores >= lowest).sum())

    def results(self, result: Detections) -> list[dict[str, Any]]:
        """Returns the best detections in COCO's results format: bbox is x, y, width, height in pixels."""
        import numpy as np

        results = []
        for index in np.argsort(-result.scores, kind="stable")[:KEPT_DETECTIONS]:
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
        objects = zip(golden["boxes"], golden["scores"], golden["classes"], strict=True)
        return [
            Outline(((x1, y1), (x2, y1), (x2, y2), (x1, y2)), number, score)
            for (x1, y1, x2, y2), score, number in objects
        ]


def _named(names: tuple[str, ...], truth: Sequence[Labels]) -> tuple[str, ...]:
    """Returns the names of a model's classes and, by their numbers, those of classes of the data set that it does not
    know: it misses their objects, as in Ultralytics' validation."""
    count = max((int(labels.classes.max()) + 1 for labels in truth if len(labels.classes)), default=0)
    return (*names, *(f"class {number}" for number in range(len(names), count)))
