"""Detection: boxes with a class and a score, from outputs before or after non-maximum suppression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypedDict, cast

from edgecompile.errors import BundleError
from edgecompile.runtime import tasks
from edgecompile.runtime.tasks import Agreement, OutputError, Parts, Setting
from edgecompile.text import escape

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.geometry import Geometry
    from edgecompile.runtime.spec_document import SpecDocument

DECODES = ("yolo", "end2end")
MOST_BOXES = 1_000_000
MOST_PIXELS_OFF = 0.01
MOST_SCORE_OFF = 1e-4


class OutputDocument(TypedDict):
    """`output` of spec.json: name and shape of the output, and how it is read."""

    name: str
    shape: list[int]
    decode: str


class NmsDocument(TypedDict):
    """`nms` of spec.json: defaults of the post-processing; the meaning of each key stands at `Task`."""

    conf: float
    iou: float
    max_det: int
    class_agnostic: bool


class DetectDocument(TypedDict):
    """The parts of spec.json that belong to detection."""

    output: OutputDocument
    nms: NmsDocument


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


class Task(tasks.Task[Detections]):
    """Detection, as a spec describes it.

    Attributes:
        decode_as: "yolo": the output is (n, 4 + classes, anchors), centre x, y, width, height in input pixels and class
            scores 0..1; "end2end": (n, boxes, 6), corners in input pixels, score and class: no suppression needed.
        conf, iou, max_det: defaults: lowest score, largest overlap (intersection over union), most boxes.
        class_agnostic: whether boxes of different classes may drop each other.
    """

    noun: ClassVar[str] = "detections"
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("conf", float, "lowest score, 0..1 (default: the bundle's)"),
        Setting("iou", float, "largest overlap of two boxes of a class, 0..1"),
        Setting("max_det", int, "most boxes on a picture"),
    )

    switches: ClassVar[frozenset[str]] = frozenset({"multi_label", "clip"})

    def __init__(self, document: SpecDocument, names: tuple[str, ...]) -> None:
        own = cast("DetectDocument", document)
        output, nms = own["output"], own["nms"]
        self.names = names
        self.outputs = (str(output["name"]),)
        self.decode_as: str = output["decode"]
        self.conf, self.iou = float(nms["conf"]), float(nms["iou"])
        self.max_det, self.class_agnostic = int(nms["max_det"]), bool(nms["class_agnostic"])
        if self.decode_as not in DECODES:
            known = ", ".join(DECODES)
            raise BundleError(f"spec.json: output.decode is {self.decode_as!r}, this runtime does {known}")
        if not (0 <= self.conf <= 1 and 0 <= self.iou <= 1 and 1 <= self.max_det <= MOST_BOXES):
            raise BundleError(f"spec.json: nms wants conf and iou in 0..1 and max_det in 1..{MOST_BOXES}")
        shape = tuple(int(side) for side in output["shape"])
        channels = shape[self._channel_axis] if len(shape) == 3 else None
        if not names or channels not in (-1, self._channels):
            raise BundleError(f"spec.json: the output {list(shape)} does not fit {len(names)} classes")

    @property
    def _channel_axis(self) -> int:
        return 1 if self.decode_as == "yolo" else 2

    @property
    def _channels(self) -> int:
        return 4 + len(self.names) if self.decode_as == "yolo" else 6

    def decode(
        self, outputs: Sequence[np.ndarray], geometry: Geometry, slot: int, given: Mapping[str, Any]
    ) -> Detections:
        """As `tasks.Task.decode`. Switches: `multi_label`, whether a box stands once for each class above `conf`, as in
        Ultralytics' validation; `clip`, whether boxes are cut at the border of the picture (they are)."""
        from edgecompile.runtime.tasks import _boxes

        defaults = {"conf": self.conf, "iou": self.iou, "max_det": self.max_det}
        lowest, overlap, most = (
            setting.checked(defaults[setting.name] if given.get(setting.name) is None else given[setting.name])
            for setting in self.settings
        )
        rows = self._rows(outputs[0], slot)
        try:
            if self.decode_as == "end2end":
                decoded = _boxes.decode_end2end(rows, conf=lowest, max_det=int(most), classes=len(self.names))
            else:
                decoded = _boxes.decode_yolo(
                    rows,
                    conf=lowest,
                    iou=overlap,
                    max_det=int(most),
                    class_agnostic=self.class_agnostic,
                    multi_label=bool(given.get("multi_label")),
                )
        except OutputError as error:
            raise OutputError(f"output '{self.outputs[0]}' of the model holds {error}") from error
        boxes, scores, classes = decoded
        return Detections(geometry.restore(boxes, clip=bool(given.get("clip", True))), scores, classes, self.names)

    def _rows(self, output: np.ndarray, slot: int) -> np.ndarray:
        """Returns the numbers of one picture of the stack, which have the shape that the spec states."""
        shape: tuple[int, ...] = getattr(output, "shape", ())
        kind = getattr(getattr(output, "dtype", None), "kind", "O")
        fits = len(shape) == 3 and shape[self._channel_axis] == self._channels
        if kind not in "fiu" or not fits or not slot < shape[0]:
            expected = ["n", self._channels, -1] if self.decode_as == "yolo" else ["n", -1, self._channels]
            actual = f"{list(shape)}, and numbers in it: {'yes' if kind in 'fiu' else 'no'}"
            raise OutputError(f"output '{self.outputs[0]}' of the model is {actual}; expected numbers {expected}")
        return output[slot]

    def parts(self, reference: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Parts:
        """Returns the boxes and the scores of two outputs: compared together, dead scores would hide behind good boxes
        (a cosine above 0.9999 with every score 0).

        The anchors of `yolo` always stand in one order. The rows of `end2end` are sorted by score, so that the least
        change of scores moves rows: each row that scores above `conf` in the reference is paired with the row of its
        class that overlaps it most, or with zeros.
        """
        from edgecompile.runtime.tasks import _boxes

        before, after = reference[0], other[0]
        if before.ndim != 3 or before.shape[self._channel_axis] != self._channels:
            return {"": (before, after)}
        if self.decode_as == "yolo":
            return {"boxes": (before[:, :4], after[:, :4]), "scores": (before[:, 4:], after[:, 4:])}
        sure, rows = _boxes.paired_rows(before[0], after[0], self.conf)
        return {"boxes": (sure[:, :4], rows[:, :4]), "scores": (sure[:, 4], rows[:, 4])}

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
