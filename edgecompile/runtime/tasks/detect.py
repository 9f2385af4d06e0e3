"""Detection: boxes with a class and a score, from outputs before or after non-maximum suppression."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from edgecompile.json_types import JsonObject
from edgecompile.runtime.tasks import Agreement, Given, _found_objects
from edgecompile.runtime.tasks._found_objects import FoundObjects, rounded
from edgecompile.runtime.tasks._object_rows import ObjectRows

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.geometry import Geometry


class Detection(NamedTuple):
    """One object: the name and number of its class, its score 0..1, its box (x1, y1, x2, y2) in pixels."""

    name: str
    score: float
    box: tuple[float, float, float, float]
    class_id: int


@dataclass(frozen=True, eq=False, repr=False)
class Detections(FoundObjects[Detection]):
    """The objects found on one picture, best first.

    Attributes:
        boxes: float32 (n, 4): x1, y1, x2, y2 in pixels of the original picture.
        scores: float32 (n,), 0..1.
        classes: int64 (n,): numbers of classes.
        names: names of all classes the model knows, in the order of their numbers.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]

    def __getitem__(self, index: int) -> Detection:
        number = int(self.classes[index])
        return Detection(self.class_name(number), float(self.scores[index]), tuple(self.boxes[index].tolist()), number)

    def to_dict(self) -> JsonObject:
        """Returns plain JSON values: boxes to a thousandth of a pixel, scores to five digits, numbers and names of
        classes."""
        classes = self.classes.tolist()
        return {
            "boxes": rounded(self.boxes),
            "scores": rounded(self.scores, 5),
            "classes": classes,
            "names": [self.class_name(number) for number in classes],
        }


class Task(ObjectRows[Detections]):
    """Detection, as a spec describes it."""

    noun: ClassVar[str] = "detections"

    def decode(self, outputs: Sequence[np.ndarray], geometry: Geometry, slot: int, given: Given) -> Detections:
        """As `tasks.Task.decode`. Switches: `multi_label`, whether a box stands once for each class above `conf`, as in
        Ultralytics' validation; `clip`, whether boxes are cut at the border of the picture (they are)."""
        boxes, scores, classes, _ = self.choose(outputs, slot, given)
        return Detections(geometry.restore(boxes, clip=bool(given.get("clip", True))), scores, classes, self.names)

    def draw(self, image: np.ndarray, result: Detections) -> np.ndarray:
        from edgecompile.runtime.tasks import _drawing

        canvas = image.copy()
        for detection in reversed(list(result)):  # the best last, on top
            _drawing.draw_box(canvas, detection.box, f"{detection.name} {detection.score:.2f}", detection.class_id)
        return canvas

    def lines(self, result: Detections) -> Iterable[str]:
        return _found_objects.text_lines([(one.name, one.score, one.box, "") for one in result])

    def fields(self, result: Detections) -> JsonObject:
        objects: list[JsonObject] = [
            {
                "name": detection.name,
                "class": detection.class_id,
                "score": round(detection.score, 5),
                "box": [round(value, 3) for value in detection.box],
            }
            for detection in result
        ]
        return {"detections": objects}

    def coco(self, result: Detections) -> list[JsonObject]:
        """Returns an element for each object: bbox is x, y, width, height in pixels."""
        elements: list[JsonObject] = []
        for detection in result:
            x1, y1, x2, y2 = detection.box
            bbox = [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]
            elements.append({"category_id": detection.class_id, "bbox": bbox, "score": round(detection.score, 5)})
        return elements

    def golden(self, result: Detections) -> JsonObject:
        return {
            "boxes": rounded(result.boxes),
            "scores": rounded(result.scores, 6),
            "classes": result.classes.tolist(),
        }

    def agreement(self, result: Detections, golden: Any) -> Agreement:
        """Demands as many detections, equal classes, equal boxes and scores but for rounding."""
        arrays = {"boxes": result.boxes, "scores": result.scores, "classes": result.classes}
        return _found_objects.agreement(arrays, golden, (_found_objects.BOXES, _found_objects.SCORES))
