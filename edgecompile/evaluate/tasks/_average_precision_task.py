"""Tasks that find objects and are judged by mean average precision, as Ultralytics' own validation computes it.

Every class above a low threshold counts, with Ultralytics' settings and `rect=False`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

from edgecompile.evaluate import tasks
from edgecompile.evaluate.class_names import unique_names
from edgecompile.evaluate.tasks import Accuracy, Gaps, Metric, Outline, OutputFacts, Setting, StatedFacts
from edgecompile.json_types import JsonObject
from edgecompile.runtime.figures import ScoreChange
from edgecompile.runtime.spec_document import SpecDocument
from edgecompile.runtime.tasks import Given, Result
from edgecompile.runtime.tasks._object_rows import ObjectRows, RowsDocument

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.evaluate.average_precision import MatchedDetections
    from edgecompile.evaluate.evidence import Evidence
    from edgecompile.runtime.spec import Spec

    Matches = Mapping[str, MatchedDetections]
    """Beginning of the names of metrics to the objects of one picture, matched as these metrics match them."""

BOX_TOLERANCE = 2e-4
"""Largest allowed difference of a coordinate, as a fraction of the picture's longer side (0.064 px at 320 px).

Float summation order alone moves boxes by about 1e-5 of the side; a wrong graph by far more than 1e-2."""
SCORE_TOLERANCE = 1e-3
"""Largest allowed difference of a class score (0..1)."""
KEPT_RESULTS = 100
"""How many objects a picture keeps in the file of results: the best. All count towards the figures."""
DEFAULT_MAX_DET = 300
DEFAULT_CONF = 0.001


class ScoredObjects(Result, Protocol):
    """Objects with scores, classes and upright boxes around them: arrays of their number."""

    @property
    def boxes(self) -> np.ndarray: ...

    @property
    def scores(self) -> np.ndarray: ...

    @property
    def classes(self) -> np.ndarray: ...


class LabelledObjects(Protocol):
    """Labels of objects: `classes` (n,) int64, and what the task knows beside them."""

    @property
    def classes(self) -> np.ndarray: ...


Found = TypeVar("Found", bound=ScoredObjects)
Truth = TypeVar("Truth", bound=LabelledObjects)


class AveragePrecisionTask(tasks.Task[Found, Truth, "Matches"]):
    """A task whose metrics are average precisions.

    Attributes:
        metrics: in pairs: for each key of what `judge` returns, in its order, the key before "map50_95" and "map50".
    """

    metrics: ClassVar[tuple[Metric, ...]] = (Metric("map50_95", "mAP50-95"), Metric("map50", "mAP50"))
    drop: ClassVar[Metric] = Metric("map_drop", "mAP50-95 drop")
    embeds: ClassVar[frozenset[str]] = frozenset({"yolo", "end2end"})
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("conf", DEFAULT_CONF, "smallest score of a detection that counts"),
        Setting("iou", 0.7, "overlap above which non-maximum suppression drops a box"),
        Setting("max_det", DEFAULT_MAX_DET, "most detections a picture"),
    )

    def describe(self, outputs: Sequence[OutputFacts], decode: str, stated: StatedFacts) -> JsonObject:
        """Returns `output` and `nms`; thresholds are those of Ultralytics' `predict`.

        Args:
            outputs: the first holds the rows of objects.
            decode: "yolo" for (n, 4 + classes + extras, anchors) centre boxes, class scores and what the task adds,
                which still need non-maximum suppression; "end2end" for (n, objects, 6 + extras) corners, score, class
                and what the task adds, which need a threshold only.
            stated: by the weights.
        """
        return {
            "output": {"name": outputs[0].name, "shape": list(outputs[0].shape), "decode": decode},
            "nms": {"conf": 0.25, "iou": 0.7, "max_det": 300, "class_agnostic": False},
        }

    def renamed(self, spec: SpecDocument, shapes: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, Any]:
        output = cast("RowsDocument", spec)["output"]
        name = names[0] if names else output["name"]
        return {"output": {**output, "name": name, "shape": list(shapes[0])}}

    def gaps(self, before: Sequence[np.ndarray], after: Sequence[np.ndarray], spec: SpecDocument) -> Gaps:
        """Returns the largest differences of boxes (pixels), of scores, and of what the task adds.

        Rows of an end-to-end output whose scores nearly tie may swap places: they are matched, not compared in place.
        """
        import numpy as np

        from edgecompile.evaluate.tasks._row_matching import matched_rows, score_gap

        if cast("RowsDocument", spec)["output"]["decode"] == "end2end":
            expected, actual = matched_rows(before[0], after[0], SCORE_TOLERANCE)
            gap = np.abs(expected - actual)
            boxes, extras = gap[:, :4], gap[:, 6:]
            scores = score_gap(before[0], after[0])
        else:
            end = 4 + len(spec["names"])
            gap = np.abs(before[0] - after[0])
            boxes, extras = gap[:, :4], np.concatenate(gap[:, end:].transpose(0, 2, 1))
            scores = float(gap[:, 4:end].max(initial=0.0))
        return {"boxes": float(boxes.max(initial=0.0)), "scores": scores, **self.extra_gaps(extras, spec)}

    def extra_gaps(self, gaps: np.ndarray, spec: SpecDocument) -> Gaps:
        """Returns the largest differences of what the task adds to a row, by parts of one unit each.

        Args:
            gaps: (n, extras) absolute differences.
            spec: the document of `spec.json`.
        """
        return {}

    def tolerances(self, size: Sequence[int]) -> dict[str, float]:
        return {"boxes": BOX_TOLERANCE * max(size), "scores": SCORE_TOLERANCE}

    def options(self, settings: Mapping[str, float | int], truth: Sequence[Truth]) -> Given:
        """Returns the settings, and that a box stands once for each class and is not cut at the border.

        A default limit on detections that cannot hold all objects is raised, as Ultralytics does in
        `DetectionValidator._check_max_det`; a limit that a person chose is not.
        """
        most = settings["max_det"]
        if most == DEFAULT_MAX_DET:
            most = max([most, *(len(labels.classes) for labels in truth)])
        return {**settings, "max_det": most, "multi_label": True, "clip": False}

    @abstractmethod
    def judge(self, result: Found, truth: Truth, size: tuple[int, int]) -> Matches:
        """Matches the objects found on one picture of `size` (height, width) with its labels."""

    def accuracy(self, judged: Sequence[Matches], truth: Sequence[Truth], names: tuple[str, ...]) -> Accuracy:
        """Returns the figures as facts, rounded to 6 digits: far finer than they mean anything."""
        from edgecompile.evaluate import average_precision

        shown = unique_names(_named(names, truth))
        metrics: dict[str, float] = {}
        per_class: dict[str, dict[str, float | int]] = {}
        objects = 0
        for prefix in judged[0] if judged else [""]:
            classes = average_precision.per_class([picture[prefix] for picture in judged])
            map50_95, map50 = average_precision.mean(list(classes.values()))
            metrics |= {f"{prefix}map50_95": round(map50_95, 6), f"{prefix}map50": round(map50, 6)}
            for number, figures in classes.items():
                per_class.setdefault(shown[number], {}).update(
                    {
                        f"{prefix}map50_95": round(figures.map50_95, 6),
                        f"{prefix}map50": round(figures.map50, 6),
                        "objects": figures.objects,
                    }
                )
            objects = sum(figures.objects for figures in classes.values())
        found = sum(len(next(iter(picture.values())).scores) for picture in judged)
        return Accuracy(metrics, per_class, objects, found)

    def evidence(self, result: Found, judged: Matches) -> dict[str, np.ndarray]:
        """Returns the objects that were found, best first: `scores`, `classes`, `places` and, packed to two bytes,
        `hits` of the main metric; and `truth`, the classes of those labelled."""
        import numpy as np

        matched = next(iter(judged.values()))
        order = np.argsort(-result.scores, kind="stable")
        return {
            "scores": matched.scores.astype(np.float32),
            "classes": matched.classes.astype(np.int32),
            "places": self.places(result)[order].astype(np.float32),
            "hits": np.packbits(matched.correct, axis=1),
            "truth": matched.truth.astype(np.int32),
        }

    def places(self, result: Found) -> np.ndarray:
        """Returns where the objects are, (n, values), for `likeness`."""
        return result.boxes

    def likeness(self, places: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Returns how far each of m objects overlaps each of n others, 0..1, (m, n)."""
        from edgecompile.evaluate.average_precision import overlaps

        return overlaps(places, others)

    def main_without(self, evidence: Evidence, groups: np.ndarray, count: int) -> np.ndarray:
        from edgecompile.evaluate.left_out_precision import mean_without

        return mean_without(
            _hits(evidence),
            evidence["scores"],
            evidence["classes"],
            groups[evidence.picture_of("scores")],
            evidence["truth"],
            groups[evidence.picture_of("truth")],
            count,
        )

    def score_change(
        self, reference: Evidence, artifact: Evidence, spec: Spec, settings: Mapping[str, float | int]
    ) -> ScoreChange | None:
        """Returns what changed from the score on that a prediction shows, or that counts towards the metrics, where
        that is higher; a hit is one at an overlap of 0.5."""
        import numpy as np

        from edgecompile.evaluate.score_changes import at_threshold, change_of, matched_shifts

        threshold = max(_shown_from(spec), float(settings.get("conf", 0)))
        before, after = (
            at_threshold(side["scores"], _hits(side)[:, 0], len(side["truth"]), threshold)
            for side in (reference, artifact)
        )
        pictures = (
            zip(*(side.by_picture(name) for name in ("scores", "classes", "places")), strict=True)
            for side in (reference, artifact)
        )
        shifts = [
            matched_shifts(first, second, threshold, self.likeness) for first, second in zip(*pictures, strict=True)
        ]
        return change_of(np.concatenate(shifts), threshold, before, after)

    def disagreement(self, reference: Found, other: Found) -> tuple[float, float] | None:
        from edgecompile.evaluate.disagreement import LOWEST, disagreement

        sides = []
        for result in (reference, other):
            kept = result.scores >= LOWEST
            sides.append((result.scores[kept], result.classes[kept], self.places(result)[kept]))
        return disagreement(sides[0], sides[1], self.likeness)

    def count_sure(self, result: Found, spec: Spec) -> int:
        return int((result.scores >= _shown_from(spec)).sum())


def _shown_from(spec: Spec) -> float:
    """Returns the lowest score that a prediction shows."""
    return spec.task.conf if isinstance(spec.task, ObjectRows) else 0.0


def _hits(evidence: Evidence) -> np.ndarray:
    """Returns whether each object hits a labelled one at each threshold of overlap, bool (n, 10)."""
    import numpy as np

    from edgecompile.evaluate.average_precision import IOU_THRESHOLDS

    return np.unpackbits(evidence["hits"], axis=1, count=len(IOU_THRESHOLDS)).astype(bool)


def best_first(result: ScoredObjects) -> list[int]:
    """Returns the indices of the objects that a picture keeps in the file of results."""
    import numpy as np

    return [int(index) for index in np.argsort(-result.scores, kind="stable")[:KEPT_RESULTS]]


def box_outlines(golden: Any) -> list[Outline]:
    """Returns the outlines of upright boxes, `boxes` of a golden result."""
    objects = zip(golden["boxes"], golden["scores"], golden["classes"], strict=True)
    return [
        Outline(((x1, y1), (x2, y1), (x2, y2), (x1, y2)), number, score) for (x1, y1, x2, y2), score, number in objects
    ]


def _named(names: tuple[str, ...], truth: Sequence[LabelledObjects]) -> tuple[str, ...]:
    """Returns the names of a model's classes and, by their numbers, those of classes of the data set that it does not
    know: it misses their objects, as in Ultralytics' validation."""
    count = max((int(labels.classes.max()) + 1 for labels in truth if len(labels.classes)), default=0)
    return (*names, *(f"class {number}" for number in range(len(names), count)))
