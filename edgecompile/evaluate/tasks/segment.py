"""Segmentation: mean average precision of masks and of boxes as Ultralytics' own validation computes them, with its
settings and `rect=False`.

Masks are compared at the size of the prototypes, a quarter of the input along each side, and are not interpolated. A
pixel that several labelled objects cover belongs to the smallest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from edgecompile.data import polygon_labels
from edgecompile.data.label_lines import CheckedLabels, LabelFacts, LabelForm, LabelLines
from edgecompile.data.polygon_labels import PolygonLabels
from edgecompile.evaluate.tasks import Gaps, Metric, Outline, OutputFacts, StatedFacts
from edgecompile.evaluate.tasks._average_precision_task import AveragePrecisionTask, best_first
from edgecompile.json_types import JsonObject
from edgecompile.runtime.spec_document import SpecDocument
from edgecompile.runtime.tasks import Given
from edgecompile.runtime.tasks.segment import SegmentDocument, Segments

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.evaluate.tasks._average_precision_task import Matches

ROWS_AXES, PROTOTYPES_AXES = 3, 4
"""Axes of the two outputs, by which they are told apart whatever an artifact calls them."""
SHARE_TOLERANCE = 1e-3
"""Largest allowed difference of coefficients and of prototypes, as a share of the largest of them."""


class Task(AveragePrecisionTask[Segments, PolygonLabels]):
    """Segmentation."""

    checkpoints: ClassVar[tuple[str, ...]] = ("segment",)
    heads: ClassVar[tuple[str, ...]] = ("Segment", "Segment26", "YOLOESegment", "YOLOESegment26")
    label_form: ClassVar[LabelForm] = LabelForm.POLYGONS
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("map50_95", "mAP50-95"),
        Metric("map50", "mAP50"),
        Metric("box_map50_95", "box mAP50-95"),
        Metric("box_map50", "box mAP50"),
    )

    def describe(self, outputs: Sequence[OutputFacts], decode: str, stated: StatedFacts) -> JsonObject:
        """Returns the parts of all tasks with rows, and `prototypes`: of those outputs that has four axes."""
        rows, prototypes = (_with_axes(outputs, axes) for axes in (ROWS_AXES, PROTOTYPES_AXES))
        entry: JsonObject = {"name": prototypes.name, "shape": list(prototypes.shape)}
        return {**super().describe([rows], decode, stated), "prototypes": entry}

    def renamed(self, spec: SpecDocument, shapes: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, Any]:
        own = cast("SegmentDocument", spec)
        known = names or [own["output"]["name"], own["prototypes"]["name"]]
        outputs = [OutputFacts(name, tuple(shape)) for name, shape in zip(known, shapes, strict=True)]
        rows, prototypes = (_with_axes(outputs, axes) for axes in (ROWS_AXES, PROTOTYPES_AXES))
        if not names:  # the order may be another, the names are not
            rows, prototypes = (
                OutputFacts(entry["name"], output.shape)
                for entry, output in ((own["output"], rows), (own["prototypes"], prototypes))
            )
        entry = {"name": prototypes.name, "shape": list(prototypes.shape)}
        return {**super().renamed(spec, [rows.shape], [rows.name]), "prototypes": entry}

    def gaps(self, before: Sequence[np.ndarray], after: Sequence[np.ndarray], spec: SpecDocument) -> Gaps:
        """Returns the largest differences: of boxes in pixels, of scores, of coefficients and of prototypes as shares
        of the largest of them."""
        import numpy as np

        (rows, prototypes), (other_rows, other_prototypes) = (_in_order(outputs) for outputs in (before, after))
        gaps = super().gaps([rows], [other_rows], spec)
        largest = float(np.abs(_coefficients(rows, spec)).max(initial=0.0)) or 1.0
        apart = float(np.abs(prototypes - other_prototypes).max(initial=0.0))
        reach = float(np.abs(prototypes).max(initial=0.0)) or 1.0
        return {**gaps, "coefficients": gaps["coefficients"] / largest, "prototypes": apart / reach}

    def extra_gaps(self, gaps: np.ndarray, spec: SpecDocument) -> Gaps:
        return {"coefficients": float(gaps.max(initial=0.0))}

    def tolerances(self, size: Sequence[int]) -> dict[str, float]:
        return {**super().tolerances(size), "coefficients": SHARE_TOLERANCE, "prototypes": SHARE_TOLERANCE}

    def check_labels(self, lines: LabelLines, facts: LabelFacts) -> CheckedLabels:
        return polygon_labels.check_labels(lines, facts)

    def read_labels(self, lines: LabelLines, facts: LabelFacts) -> PolygonLabels:
        return polygon_labels.read_labels(lines, facts)

    def options(self, settings: Mapping[str, float | int], truth: Sequence[PolygonLabels]) -> Given:
        """Returns those of `AveragePrecisionTask`, and that an object without a pixel counts as found."""
        return {**super().options(settings, truth), "keep_empty": True}

    def judge(self, result: Segments, truth: PolygonLabels, size: tuple[int, int]) -> Matches:
        import numpy as np

        from edgecompile.evaluate import average_precision
        from edgecompile.evaluate._mask_overlaps import drawn, overlaps

        boxes = truth.boxes * np.array([size[1], size[0]] * 2, np.float32)
        shared = {
            "": overlaps(drawn(truth.polygons, result.plane), [shape.on_plane() for shape in result.shapes]),
            "box_": average_precision.overlaps(boxes, result.boxes),
        }
        return {
            prefix: average_precision.match(matrix, result.scores, result.classes, truth.classes)
            for prefix, matrix in shared.items()
        }

    def results(self, result: Segments) -> list[JsonObject]:
        """Returns the best objects in COCO's results format: bbox is x, y, width, height in pixels, segmentation the
        mask as runs, at the size of the picture."""
        size = list(result.plane.geometry.source)
        results: list[JsonObject] = []
        for index in best_first(result):
            x1, y1, x2, y2 = (float(value) for value in result.boxes[index])
            results.append(
                {
                    "category_id": int(result.classes[index]),
                    "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                    "score": round(float(result.scores[index]), 5),
                    "segmentation": {"size": size, "counts": result.shapes[index].runs()},
                }
            )
        return results

    def outlines(self, golden: Any) -> list[Outline]:
        """Returns the outer border of each part of the masks."""
        from edgecompile.runtime.tasks import _run_lengths
        from edgecompile.runtime.tasks._masks import contours

        size = (golden["size"][0], golden["size"][1])
        objects = zip(golden["masks"], golden["scores"], golden["classes"], strict=True)
        return [
            Outline(tuple((float(x), float(y)) for x, y in contour), number, score)
            for runs, score, number in objects
            for contour in contours(_run_lengths.decode(runs, size).copy())
        ]


def _with_axes(outputs: Sequence[OutputFacts], axes: int) -> OutputFacts:
    """Returns the output of so many axes.

    Raises:
        StepError: there is none, or more than one.
    """
    from edgecompile.errors import StepError

    found = [output for output in outputs if len(output.shape) == axes]
    if len(found) != 1:
        shapes = ", ".join(f"'{output.name}' {list(output.shape)}" for output in outputs)
        raise StepError(f"the outputs are {shapes}; segmentation reads rows of objects and prototypes of masks")
    return found[0]


def _in_order(outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows and prototypes of the outputs of a graph, whatever their order."""
    first, second = outputs
    return (first, second) if first.ndim == ROWS_AXES else (second, first)


def _coefficients(rows: np.ndarray, spec: SpecDocument) -> np.ndarray:
    nms_free = cast("SegmentDocument", spec)["output"]["decode"] == "end2end"
    return rows[:, :, 6:] if nms_free else rows[:, 4 + len(spec["names"]) :]
