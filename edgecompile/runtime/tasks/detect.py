"""Detection: boxes with a class and a score, from outputs before or after non-maximum suppression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from edgecompile.errors import BundleError
from edgecompile.runtime.tasks import Agreement
from edgecompile.runtime.tasks._object_rows import ObjectRows
from edgecompile.text import escape

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.geometry import Geometry

MOST_PIXELS_OFF = 0.01
MOST_SCORE_OFF = 1e-4


class Detection(NamedTuple):
    """One object: the name and number of its class, its score 0..1, its box (x1, y1, x2, y2) in pixels."""

    name: str
    score: float
    box: tuple[float, float, float, float]
    class_id: int


@dataclass(frozen=True, eq=False)
class Detections:
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

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, number in zip(self.boxes.tolist(), self.scores.tolist(), self.classes.tolist(), strict=True):
            yield Detection(self._name(number), score, tuple(box), number)

    def __getitem__(self, index: int) -> Detection:
        number = int(self.classes[index])
        return Detection(self._name(number), float(self.scores[index]), tuple(self.boxes[index].tolist()), number)

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for number in self.classes.tolist():
            counts[self._name(number)] = counts.get(self._name(number), 0) + 1
        return f"Detections({', '.join(f'{count} {name}' for name, count in counts.items()) or 'none'})"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values: boxes to a thousandth of a pixel, scores to five digits, numbers and names of
        classes."""
        classes = self.classes.tolist()
        return {
            "boxes": [[round(value, 3) for value in box] for box in self.boxes.tolist()],
            "scores": [round(score, 5) for score in self.scores.tolist()],
            "classes": classes,
            "names": [self._name(number) for number in classes],
        }

    def _name(self, number: int) -> str:
        return self.names[number] if 0 <= number < len(self.names) else str(number)


class Task(ObjectRows[Detections]):
    """Detection, as a spec describes it."""

    noun: ClassVar[str] = "detections"

    def decode(
        self, outputs: Sequence[np.ndarray], geometry: Geometry, slot: int, given: Mapping[str, Any]
    ) -> Detections:
        """As `tasks.Task.decode`. Switches: `multi_label`, whether a box stands once for each class above `conf`, as in
        Ultralytics' validation; `clip`, whether boxes are cut at the border of the picture (they are)."""
        boxes, scores, classes, _ = self.choose(outputs[0], slot, given)
        return Detections(geometry.restore(boxes, clip=bool(given.get("clip", True))), scores, classes, self.names)

    def draw(self, image: np.ndarray, result: Detections) -> np.ndarray:
        from edgecompile.runtime.tasks import _drawing

        canvas = image.copy()
        for detection in reversed(list(result)):  # the best last, on top
            _drawing.draw_box(canvas, detection.box, f"{detection.name} {detection.score:.2f}", detection.class_id)
        return canvas

    def lines(self, result: Detections) -> Iterable[str]:
        yield f"{len(result)} object{'' if len(result) == 1 else 's'}"
        width = max((len(escape(detection.name)) for detection in result), default=0)
        for detection in result:
            box = "  ".join(f"{value:7.1f}" for value in detection.box)
            yield f"{escape(detection.name):<{width}}  {detection.score:.2f}  {box}"

    def fields(self, result: Detections) -> dict[str, Any]:
        objects = [
            {
                "name": detection.name,
                "class": detection.class_id,
                "score": round(detection.score, 5),
                "box": [round(value, 3) for value in detection.box],
            }
            for detection in result
        ]
        return {"detections": objects}

    def coco(self, result: Detections) -> list[dict[str, Any]]:
        """Returns an element for each object: bbox is x, y, width, height in pixels."""
        elements = []
        for detection in result:
            x1, y1, x2, y2 = detection.box
            bbox = [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]
            elements.append({"category_id": detection.class_id, "bbox": bbox, "score": round(detection.score, 5)})
        return elements

    def golden(self, result: Detections) -> dict[str, Any]:
        return {
            "boxes": [[round(value, 3) for value in box] for box in result.boxes.tolist()],
            "scores": [round(score, 6) for score in result.scores.tolist()],
            "classes": result.classes.tolist(),
        }

    def agreement(self, result: Detections, golden: Any) -> Agreement:
        """Demands as many detections, equal classes, equal boxes and scores but for rounding."""
        import numpy as np

        try:
            boxes = np.array(golden["boxes"], np.float64).reshape(-1, 4)
            scores, classes = np.array(golden["scores"], np.float64), np.array(golden["classes"], np.int64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BundleError(f"the golden detections are malformed: {error!r}") from None
        if scores.ndim != 1 or scores.shape != classes.shape or boxes.shape != (len(scores), 4):
            raise BundleError(f"the golden detections are malformed: {len(boxes)} boxes, {scores.size} scores")
        if len(result) != len(scores) or not np.array_equal(result.classes, classes):
            return Agreement(False, f"{len(result)} instead of {len(scores)}, or of other classes")
        pixels = float(np.abs(result.boxes - boxes).max(initial=0.0))
        score = float(np.abs(result.scores - scores).max(initial=0.0))
        met = pixels <= MOST_PIXELS_OFF and score <= MOST_SCORE_OFF
        return Agreement(met, f"{len(scores)}, boxes within {pixels:.2g} pixels, scores within {score:.2g}")
