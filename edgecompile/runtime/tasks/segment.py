"""Segmentation: objects with a box, a class, a score and a mask, from rows of objects and prototypes of masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, cast

from edgecompile.errors import BundleError
from edgecompile.json_types import JsonObject
from edgecompile.runtime.tasks import Agreement, Given, OutputError, Parts, _found_objects
from edgecompile.runtime.tasks._found_objects import FoundObjects, rounded
from edgecompile.runtime.tasks._object_rows import ObjectRows, RowsDocument

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.geometry import Geometry
    from edgecompile.runtime.spec_document import SpecDocument
    from edgecompile.runtime.tasks._masks import Mask, Plane
    from edgecompile.runtime.tasks._supervision import SupervisionFields

MOST_MASK_OFF = 0.002
"""Share of the pixels of a mask, of the golden one or this, that may belong to one of them alone. Where the number of a
pixel is nearly 0, the order in which a processor sums products decides."""
MOST_PROTOTYPES = 1024
OPACITY = 0.45
"""Of a mask that is drawn."""


class PrototypesDocument(TypedDict):
    """`prototypes` of spec.json: name and shape of the output, (n, prototypes, height / 4, width / 4)."""

    name: str
    shape: list[int]


class SegmentDocument(RowsDocument):
    """The parts of spec.json that belong to segmentation."""

    prototypes: PrototypesDocument


@dataclass(frozen=True, eq=False)
class Segment:
    """One object: the name and number of its class, its score 0..1, its box (x1, y1, x2, y2) in pixels.

    `mask` and `polygons` are made each time they are asked for.
    """

    name: str
    score: float
    box: tuple[float, float, float, float]
    class_id: int
    shape: Mask = field(repr=False)

    @property
    def mask(self) -> np.ndarray:
        """bool (height, width), at the size of the picture."""
        return self.shape.pixels()

    @property
    def polygons(self) -> list[np.ndarray]:
        """The outer border of each part of the mask, int32 (k, 2), x and y of pixels. Holes are not in them."""
        return self.shape.polygons()


@dataclass(frozen=True, eq=False, repr=False)
class Segments(FoundObjects[Segment]):
    """The objects found on one picture, best first.

    Attributes:
        boxes: float32 (n, 4): x1, y1, x2, y2 in pixels of the original picture.
        scores: float32 (n,), 0..1.
        classes: int64 (n,): numbers of classes.
        names: names of all classes the model knows, in the order of their numbers.
        shapes: the mask of each object, as the model gives it; pixels, polygons and runs are made of it when asked for.
        plane: how these lie over the picture.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    shapes: tuple[Mask, ...]
    plane: Plane

    @property
    def masks(self) -> np.ndarray:
        """bool (n, height, width), at the size of the picture; made each time it is asked for."""
        import numpy as np

        masks = np.zeros((len(self), *self.plane.geometry.source), bool)
        for index, shape in enumerate(self.shapes):
            top, left, bottom, right = shape.frame
            masks[index, top:bottom, left:right] = shape.window()
        return masks

    @property
    def polygons(self) -> list[list[np.ndarray]]:
        """For each object the outer border of each part of its mask, int32 (k, 2), x and y of pixels; made each time
        it is asked for."""
        return [shape.polygons() for shape in self.shapes]

    def __getitem__(self, index: int) -> Segment:
        number = int(self.classes[index])
        box = tuple(self.boxes[index].tolist())
        return Segment(self.class_name(number), float(self.scores[index]), box, number, self.shapes[index])

    def to_dict(self) -> JsonObject:
        """Returns plain JSON values: boxes to a thousandth of a pixel, scores to five digits, numbers and names of
        classes, polygons as lists of x, y."""
        classes = self.classes.tolist()
        return {
            "boxes": rounded(self.boxes),
            "scores": rounded(self.scores, 5),
            "classes": classes,
            "names": [self.class_name(number) for number in classes],
            "polygons": [[polygon.tolist() for polygon in parts] for parts in self.polygons],
        }

    def supervision_fields(self) -> SupervisionFields:
        return {"mask": self.masks}


class Task(ObjectRows[Segments]):
    """Segmentation, as a spec describes it.

    Attributes:
        prototypes: how many a mask is the sum of; a row has a coefficient for each.
    """

    noun: ClassVar[str] = "segments"
    switches: ClassVar[frozenset[str]] = frozenset({*ObjectRows.switches, "keep_empty"})

    def __init__(self, document: SpecDocument, names: tuple[str, ...]) -> None:
        from edgecompile.runtime.tasks._masks import RATIO

        super().__init__(document, names)
        entry = cast("SegmentDocument", document)["prototypes"]
        shape = tuple(int(side) for side in entry["shape"])
        size = tuple(int(side) for side in document["letterbox"]["size"])
        sides = zip(shape[2:], size, strict=False)
        if len(shape) != 4 or any(side not in (-1, pixels // RATIO) for side, pixels in sides):
            expected = f"[n, prototypes, {size[0] // RATIO}, {size[1] // RATIO}]"
            raise BundleError(f"spec.json: the prototypes are {list(shape)}, expected {expected}")
        self.outputs = (*self.outputs, str(entry["name"]))

    def extras_in(self, document: SpecDocument) -> int:
        count = int(cast("SegmentDocument", document)["prototypes"]["shape"][1])
        if not 1 <= count <= MOST_PROTOTYPES:
            raise BundleError(f"spec.json: there are {count} prototypes, this runtime reads 1 to {MOST_PROTOTYPES}")
        return count

    def decode(self, outputs: Sequence[np.ndarray], geometry: Geometry, slot: int, given: Given) -> Segments:
        """As `tasks.Task.decode`. Switches: `multi_label` and `clip` as in detection; `keep_empty`, whether objects
        whose mask has no pixel are found too (they are not, as in Ultralytics' prediction)."""
        from edgecompile.runtime.tasks._masks import Plane, masks_of

        prototypes = self.prototypes_of(outputs[self.row_outputs], slot)
        found = self.choose(outputs, slot, given)
        input_boxes = found.boxes.copy()
        boxes = geometry.restore(found.boxes, clip=bool(given.get("clip", True)))
        plane = Plane((prototypes.shape[1], prototypes.shape[2]), geometry)
        try:
            shapes = masks_of(prototypes, found.extras, input_boxes, boxes, plane)
        except OutputError as error:
            raise OutputError(
                f"outputs '{self.outputs[0]}' and '{self.outputs[self.row_outputs]}' of the model hold {error}"
            ) from error
        kept = [index for index, shape in enumerate(shapes) if given.get("keep_empty") or not shape.is_empty()]
        shown = tuple(shapes[index] for index in kept)
        return Segments(boxes[kept], found.scores[kept], found.classes[kept], self.names, shown, plane)

    def prototypes_of(self, output: np.ndarray, slot: int) -> np.ndarray:
        """Returns the prototypes of one picture of the stack, float32 (prototypes, height, width).

        Raises:
            OutputError: the output has another shape than the spec says.
        """
        import numpy as np

        shape: tuple[int, ...] = getattr(output, "shape", ())
        kind = getattr(getattr(output, "dtype", None), "kind", "O")
        if kind not in "fiu" or len(shape) != 4 or shape[1] != self.extras or not slot < shape[0]:
            actual = f"{list(shape)}, and numbers in it: {'yes' if kind in 'fiu' else 'no'}"
            expected = f"numbers ['n', {self.extras}, -1, -1]"
            raise OutputError(
                f"output '{self.outputs[self.row_outputs]}' of the model is {actual}; expected {expected}"
            )
        return np.ascontiguousarray(output[slot], np.float32)

    def parts(self, reference: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Parts:
        """As `ObjectRows.parts`, with the coefficients of rows and the prototypes as parts of their own."""
        place = self.row_outputs
        return {**super().parts(reference, other), "prototypes": (reference[place], other[place])}

    def extra_parts(self, reference: np.ndarray, other: np.ndarray) -> Parts:
        return {"coefficients": (reference, other)}

    def draw(self, image: np.ndarray, result: Segments) -> np.ndarray:
        from edgecompile.runtime.tasks import _drawing

        canvas = image.copy()
        for segment in reversed(list(result)):  # the best last, on top
            top, left, bottom, right = segment.shape.frame
            part = canvas[top:bottom, left:right]
            _drawing.draw_mask(part, segment.shape.window(), segment.class_id, OPACITY)
        for segment in reversed(list(result)):
            text = f"{segment.name} {segment.score:.2f}"
            _drawing.draw_outlines(canvas, segment.polygons, segment.box, text, segment.class_id)
        return canvas

    def lines(self, result: Segments) -> Iterable[str]:
        """Returns name, score, box, pixels of the mask and corners of its polygons."""
        rows = []
        for segment in result:
            polygons, area = segment.polygons, int(segment.shape.window().sum())
            parts = f" in {len(polygons)} parts" if len(polygons) > 1 else ""
            remark = f"  {area:7d} pixels  {sum(map(len, polygons))} corners{parts}"
            rows.append((segment.name, segment.score, segment.box, remark))
        return _found_objects.text_lines(rows)

    def fields(self, result: Segments) -> JsonObject:
        objects: list[JsonObject] = [
            {
                "name": segment.name,
                "class": segment.class_id,
                "score": round(segment.score, 5),
                "box": [round(value, 3) for value in segment.box],
                "polygons": [polygon.tolist() for polygon in segment.polygons],
            }
            for segment in result
        ]
        return {"segments": objects}

    def coco(self, result: Segments) -> list[JsonObject]:
        """Returns an element for each object: bbox is x, y, width, height in pixels, segmentation the mask as runs."""
        height, width = result.plane.geometry.source
        elements: list[JsonObject] = []
        for segment in result:
            x1, y1, x2, y2 = segment.box
            elements.append(
                {
                    "category_id": segment.class_id,
                    "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
                    "score": round(segment.score, 5),
                    "segmentation": {"size": [height, width], "counts": segment.shape.runs()},
                }
            )
        return elements

    def golden(self, result: Segments) -> JsonObject:
        return {
            "boxes": rounded(result.boxes),
            "scores": rounded(result.scores, 6),
            "classes": result.classes.tolist(),
            "size": list(result.plane.geometry.source),
            "masks": [shape.runs() for shape in result.shapes],
        }

    def agreement(self, result: Segments, golden: Any) -> Agreement:
        """Demands as many objects, equal classes, boxes and scores equal but for rounding, and masks equal but for
        `MOST_MASK_OFF` of their pixels."""
        arrays = {"boxes": result.boxes, "scores": result.scores, "classes": result.classes}
        agreement = _found_objects.agreement(arrays, golden, (_found_objects.BOXES, _found_objects.SCORES))
        shares = _shares_apart(result, golden) if agreement.met else []
        share = max(shares, default=0.0)
        met = agreement.met and share <= MOST_MASK_OFF
        return Agreement(
            met, f"{agreement.detail}, masks within {100 * share:.2g} %" if agreement.met else agreement.detail
        )


def _shares_apart(result: Segments, golden: Any) -> list[float]:
    """Returns for each golden mask how many pixels belong to it or to the mask found alone, as a share of it.

    Raises:
        BundleError: the golden masks are malformed.
    """
    from edgecompile.runtime.tasks import _run_lengths

    height, width = result.plane.geometry.source
    try:
        if golden["size"] != [height, width]:
            raise ValueError(f"masks of {golden['size']} pixels, of a picture of {[height, width]}")
        masks = [_run_lengths.decode(str(text), (height, width)) for text in golden["masks"]]
        pairs = list(zip(masks, result.shapes, strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"the golden masks are malformed: {error!r}") from None
    return [float((mask ^ shape.pixels()).sum()) / max(int(mask.sum()), 1) for mask, shape in pairs]
