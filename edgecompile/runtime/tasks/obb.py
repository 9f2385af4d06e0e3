"""Rotated boxes with a class and a score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from edgecompile.json_types import JsonObject
from edgecompile.runtime.tasks import Agreement, Given, Parts, _found_objects
from edgecompile.runtime.tasks._found_objects import FoundObjects, Limit, rounded
from edgecompile.runtime.tasks._object_rows import ObjectRows

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.geometry import Geometry
    from edgecompile.runtime.spec_document import SpecDocument
    from edgecompile.runtime.tasks._boxes import Boxes
    from edgecompile.runtime.tasks._supervision import SupervisionFields

ANGLE_DIGITS = 5


class RotatedBox(NamedTuple):
    """One object: the name and number of its class, its score 0..1, its box (centre x, centre y, width, height in
    pixels, angle in radians) and the corners of that (x, y in pixels)."""

    name: str
    score: float
    xywhr: tuple[float, float, float, float, float]
    class_id: int
    corners: tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False, repr=False)
class RotatedBoxes(FoundObjects[RotatedBox]):
    """The objects found on one picture, best first.

    Attributes:
        xywhr: float32 (n, 5): centre x, centre y, width, height in pixels of the original picture, and the angle from
            the x axis to the side that is the width, clockwise as pictures are shown, in radians. As the model puts
            them out: the width may be the shorter side, and the same box has an angle in each half turn.
        scores: float32 (n,), 0..1.
        classes: int64 (n,): numbers of classes.
        names: names of all classes the model knows, in the order of their numbers.
    """

    xywhr: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]

    @cached_property
    def corners(self) -> np.ndarray:
        """The corners, float32 (n, 4, 2): x, y in pixels of the original picture; they may lie outside of it."""
        from edgecompile.runtime.tasks import _rotated

        return _rotated.corners(self.xywhr)

    @property
    def boxes(self) -> np.ndarray:
        """The upright boxes around them, float32 (n, 4): x1, y1, x2, y2 in pixels of the original picture."""
        import numpy as np

        return np.concatenate((self.corners.min(axis=1), self.corners.max(axis=1)), axis=1)

    def __getitem__(self, index: int) -> RotatedBox:
        number = int(self.classes[index])
        x, y, width, height, angle = self.xywhr[index].tolist()
        corners = tuple((right, down) for right, down in self.corners[index].tolist())
        score = float(self.scores[index])
        return RotatedBox(self.class_name(number), score, (x, y, width, height, angle), number, corners)

    def to_dict(self) -> JsonObject:
        """Returns plain JSON values: pixels to a thousandth, angles and scores to five digits, numbers and names of
        classes."""
        classes = self.classes.tolist()
        return {
            "xywhr": [_row(box) for box in self.xywhr.tolist()],
            "corners": rounded(self.corners),
            "scores": rounded(self.scores, 5),
            "classes": classes,
            "names": [self.class_name(number) for number in classes],
        }

    def supervision_fields(self) -> SupervisionFields:
        from edgecompile.runtime.tasks._supervision import CORNERS

        return {"data": {CORNERS: self.corners}}


class Task(ObjectRows[RotatedBoxes]):
    """Rotated boxes, as a spec describes them: rows hold centre x, centre y, width, height and, last, the angle, with
    either `decode`."""

    noun: ClassVar[str] = "rotated boxes"
    suppression: ClassVar[str] = "rotated"

    def extras_in(self, document: SpecDocument) -> int:
        return 1

    def suppressed(self, rows: np.ndarray, conf: float, iou: float, max_det: int, *, multi_label: bool) -> Boxes:
        from edgecompile.runtime.tasks import _rotated

        return _rotated.decode_rotated(
            rows,
            conf=conf,
            iou=iou,
            max_det=max_det,
            class_agnostic=self.class_agnostic,
            multi_label=multi_label,
        )

    def decode(self, outputs: Sequence[np.ndarray], geometry: Geometry, slot: int, given: Given) -> RotatedBoxes:
        """As `tasks.Task.decode`. Switches: `multi_label`, whether a box stands once for each class above `conf`, as in
        Ultralytics' validation; `clip` changes nothing: rotated boxes are not cut."""
        import numpy as np

        boxes, scores, classes, angles = self.choose(outputs, slot, given)
        xywhr = geometry.restore_rotated(np.concatenate((boxes, angles), axis=1))
        return RotatedBoxes(xywhr, scores, classes, self.names)

    def corners(self, boxes: np.ndarray) -> np.ndarray:
        from edgecompile.runtime.tasks import _boxes

        return _boxes.corners_of(boxes)

    def extra_parts(self, reference: np.ndarray, other: np.ndarray) -> Parts:
        return {"angle": (reference, other)}

    def draw(self, image: np.ndarray, result: RotatedBoxes) -> np.ndarray:
        from edgecompile.runtime.tasks import _drawing

        canvas = image.copy()
        for found in reversed(list(result)):  # the best last, on top
            _drawing.draw_polygon(canvas, found.corners, f"{found.name} {found.score:.2f}", found.class_id)
        return canvas

    def lines(self, result: RotatedBoxes) -> Iterable[str]:
        """As `tasks.Task.lines`: centre x, centre y, width, height, and the angle in degrees."""
        from math import degrees

        return _found_objects.text_lines(
            [(box.name, box.score, (*box.xywhr[:4], degrees(box.xywhr[4])), "°") for box in result]
        )

    def fields(self, result: RotatedBoxes) -> JsonObject:
        objects: list[JsonObject] = [
            {
                "name": found.name,
                "class": found.class_id,
                "score": round(found.score, 5),
                "xywhr": _row(found.xywhr),
                "corners": [[round(value, 3) for value in corner] for corner in found.corners],
            }
            for found in result
        ]
        return {"rotated_boxes": objects}

    def coco(self, result: RotatedBoxes) -> list[JsonObject]:
        """Returns an element for each object: bbox is x, y, width, height in pixels of the upright box around it, and
        segmentation the polygon of its corners, as COCO has no rotated boxes."""
        elements: list[JsonObject] = []
        for found, (x1, y1, x2, y2) in zip(result, result.boxes.tolist(), strict=True):
            elements.append(
                {
                    "category_id": found.class_id,
                    "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
                    "segmentation": [[round(value, 3) for corner in found.corners for value in corner]],
                    "score": round(found.score, 5),
                }
            )
        return elements

    def golden(self, result: RotatedBoxes) -> JsonObject:
        return {
            "boxes": rounded(result.xywhr[:, :4]),
            "angles": rounded(result.xywhr[:, 4], 6),
            "scores": rounded(result.scores, 6),
            "classes": result.classes.tolist(),
        }

    def agreement(self, result: RotatedBoxes, golden: Any) -> Agreement:
        """Demands as many objects, equal classes, equal boxes, angles and scores but for rounding."""
        arrays = {
            "boxes": result.xywhr[:, :4],
            "angles": result.xywhr[:, 4],
            "scores": result.scores,
            "classes": result.classes,
        }
        return _found_objects.agreement(arrays, golden, LIMITS)


LIMITS = (
    _found_objects.BOXES,
    Limit("angles", "angles", 1e-4, " radians"),
    _found_objects.SCORES,
)


def _row(xywhr: Sequence[float]) -> list[float]:
    return [*(round(value, 3) for value in xywhr[:4]), round(xywhr[4], ANGLE_DIGITS)]
