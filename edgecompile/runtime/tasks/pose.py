"""Poses: boxes with a class and a score, and the key points of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypedDict, cast

from edgecompile.errors import BundleError
from edgecompile.json_types import JsonObject
from edgecompile.runtime.tasks import Agreement, Given, Parts, _found_objects
from edgecompile.runtime.tasks._found_objects import FoundObjects, Limit, rounded
from edgecompile.runtime.tasks._object_rows import ObjectRows

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.geometry import Geometry
    from edgecompile.runtime.spec_document import SpecDocument
    from edgecompile.runtime.tasks._supervision import SupervisionFields

MOST_KEY_POINTS = 10_000
SHOWN = 0.25
"""Confidence from which a key point is drawn and counted in tables."""
CERTAIN = 1.0
"""Confidence of the key points of a model that puts out none."""

SKELETON = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
"""Limbs of a person: pairs of COCO's 17 key points (https://cocodataset.org/#keypoints-2020), from 0."""
COCO_KEY_POINTS = 17


class KeyPointsDocument(TypedDict):
    """`key_points` of spec.json: how many key points an object has, and how many values each: x and y in pixels of the
    input, and its confidence 0..1 where there are 3."""

    count: int
    values: int


class PoseDocument(TypedDict):
    """What spec.json has for this task alone."""

    key_points: KeyPointsDocument


class Pose(NamedTuple):
    """One object: the name and number of its class, its score 0..1, its box (x1, y1, x2, y2) in pixels, and its key
    points: x and y in pixels, and confidence 0..1."""

    name: str
    score: float
    box: tuple[float, float, float, float]
    class_id: int
    key_points: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, eq=False, repr=False)
class Poses(FoundObjects[Pose]):
    """The objects found on one picture, best first.

    Attributes:
        boxes: float32 (n, 4): x1, y1, x2, y2 in pixels of the original picture.
        scores: float32 (n,), 0..1.
        classes: int64 (n,): numbers of classes.
        names: names of all classes the model knows, in the order of their numbers.
        key_points: float32 (n, key points, 3): x and y in pixels of the original picture, and how sure the model is
            that the point can be seen, 0..1; 1 where the model puts out none.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    key_points: np.ndarray

    def __getitem__(self, index: int) -> Pose:
        number = int(self.classes[index])
        points = tuple((x, y, confidence) for x, y, confidence in self.key_points[index].tolist())
        return Pose(
            self.class_name(number), float(self.scores[index]), tuple(self.boxes[index].tolist()), number, points
        )

    def to_dict(self) -> JsonObject:
        """Returns plain JSON values: boxes and key points to a thousandth of a pixel (confidence likewise), scores to
        five digits, numbers and names of classes."""
        classes = self.classes.tolist()
        return {
            "boxes": rounded(self.boxes),
            "scores": rounded(self.scores, 5),
            "classes": classes,
            "names": [self.class_name(number) for number in classes],
            "key_points": rounded(self.key_points),
        }

    def supervision_fields(self) -> SupervisionFields:
        return {"data": {"key_points": self.key_points}}

    def to_supervision(self) -> Any:
        """Returns the objects as `supervision.KeyPoints`, which has no place for boxes; `Detections` of the boxes:
        `supervision.Detections(poses.boxes, confidence=poses.scores, class_id=poses.classes)`.

        Raises:
            MissingToolError: supervision is not installed, or is too old.
        """
        from edgecompile.runtime.tasks import _supervision

        return _supervision.key_points_of(self, self.key_points)


class Task(ObjectRows[Poses]):
    """Poses, as a spec describes them.

    Attributes:
        key_points: of an object.
        values: of a key point: 2, or 3 with its confidence.
    """

    noun: ClassVar[str] = "poses"
    key_points: int
    values: int

    def extras_in(self, document: SpecDocument) -> int:
        stated = cast("PoseDocument", document)["key_points"]
        self.key_points, self.values = int(stated["count"]), int(stated["values"])
        if not 1 <= self.key_points <= MOST_KEY_POINTS or self.values not in (2, 3):
            raise BundleError(
                f"spec.json: key_points are {self.key_points} of {self.values} values, expected 1..{MOST_KEY_POINTS} "
                "of 2 or 3"
            )
        return self.key_points * self.values

    def decode(self, outputs: Sequence[np.ndarray], geometry: Geometry, slot: int, given: Given) -> Poses:
        """As `tasks.Task.decode`. Switches: `multi_label`, whether a box stands once for each class above `conf`, as in
        Ultralytics' validation; `clip`, whether boxes and key points are moved to the border of the picture where they
        lie outside (they are)."""
        import numpy as np

        boxes, scores, classes, extras = self.choose(outputs, slot, given)
        clip = bool(given.get("clip", True))
        points = np.full((len(boxes), self.key_points, 3), CERTAIN, np.float32)
        points[..., : self.values] = extras.reshape(len(boxes), self.key_points, self.values)
        geometry.restore_points(points, clip=clip)
        return Poses(geometry.restore(boxes, clip=clip), scores, classes, self.names, points)

    def extra_parts(self, reference: np.ndarray, other: np.ndarray) -> Parts:
        before, after = (rows.reshape(len(rows), self.key_points, self.values) for rows in (reference, other))
        parts = {"key points": (before[..., :2], after[..., :2])}
        return parts if self.values == 2 else {**parts, "visibility": (before[..., 2], after[..., 2])}

    def draw(self, image: np.ndarray, result: Poses) -> np.ndarray:
        from edgecompile.runtime.tasks import _drawing

        canvas = image.copy()
        limbs = SKELETON if self.key_points == COCO_KEY_POINTS else ()
        for pose in reversed(list(result)):  # the best last, on top
            _drawing.draw_box(canvas, pose.box, f"{pose.name} {pose.score:.2f}", pose.class_id)
            _drawing.draw_points(canvas, pose.key_points, limbs, SHOWN)
        return canvas

    def lines(self, result: Poses) -> Iterable[str]:
        return _found_objects.text_lines([(pose.name, pose.score, pose.box, _remark(pose)) for pose in result])

    def fields(self, result: Poses) -> JsonObject:
        objects: list[JsonObject] = [
            {
                "name": pose.name,
                "class": pose.class_id,
                "score": round(pose.score, 5),
                "box": [round(value, 3) for value in pose.box],
                "key_points": [[round(value, 3) for value in point] for point in pose.key_points],
            }
            for pose in result
        ]
        return {"poses": objects}

    def coco(self, result: Poses) -> list[JsonObject]:
        """Returns an element for each object, in COCO's format for key points: bbox is x, y, width, height in pixels,
        keypoints are x, y and confidence of each."""
        elements: list[JsonObject] = []
        for pose in result:
            x1, y1, x2, y2 = pose.box
            elements.append(
                {
                    "category_id": pose.class_id,
                    "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
                    "score": round(pose.score, 5),
                    "keypoints": [round(value, 3) for point in pose.key_points for value in point],
                }
            )
        return elements

    def golden(self, result: Poses) -> JsonObject:
        return {
            "boxes": rounded(result.boxes),
            "scores": rounded(result.scores, 6),
            "classes": result.classes.tolist(),
            "key_points": rounded(result.key_points[..., :2]),
            "visibility": rounded(result.key_points[..., 2], 6),
        }

    def agreement(self, result: Poses, golden: Any) -> Agreement:
        """Demands as many objects, equal classes, equal boxes, key points and scores but for rounding."""
        arrays = {
            "boxes": result.boxes,
            "scores": result.scores,
            "classes": result.classes,
            "key_points": result.key_points[..., :2],
            "visibility": result.key_points[..., 2],
        }
        return _found_objects.agreement(arrays, golden, LIMITS)


LIMITS = (
    _found_objects.BOXES,
    Limit("key_points", "key points", 0.01, _found_objects.PIXELS),
    Limit("visibility", "visibility", 1e-4),
    _found_objects.SCORES,
)


def _remark(pose: Pose) -> str:
    shown = sum(confidence >= SHOWN for _, _, confidence in pose.key_points)
    return f"  {shown} of {len(pose.key_points)} key points"
