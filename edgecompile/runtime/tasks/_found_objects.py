"""What results of all tasks that find objects have in common, and how such a result is compared with a golden one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from edgecompile.errors import BundleError
from edgecompile.runtime.tasks import Agreement
from edgecompile.runtime.tasks._shown import Shown
from edgecompile.text import escape

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.tasks._supervision import Boxed, SupervisionFields

Item = TypeVar("Item")
Objects = TypeVar("Objects", bound="FoundObjects[Any]")

PIXELS, SCORE = " pixels", ""
ELSEWHERE = {
    "xyxy": "result.boxes",
    "conf": "result.scores",
    "confidence": "result.scores",
    "cls": "result.classes",
    "class_id": "result.classes",
    "keypoints": "result.key_points",
    "obb": "result.xywhr and result.corners",
    "orig_img": "what was handed over; result.plot() draws on it",
    "speed": "model.timings",
    "path": "what was handed over; result.save(path) writes it with the result drawn on it",
    "show": "result.plot(), an array, or result.save(path)",
    "probs": "for classifiers only: result.probabilities",
    "summary": "result.to_dict()",
    "tojson": "json.dumps(result.to_dict())",
    "to_json": "json.dumps(result.to_dict())",
    "save_txt": "result.to_dict(), or the verb `predict --format json`",
    "to_df": "result.to_dict()",
}
"""What Ultralytics and supervision call the parts of a result."""


class FoundObjects(Shown, ABC, Generic[Item]):
    """The objects found on one picture, best first. A frozen dataclass of the task adds what it knows of each.

    Attributes:
        scores: float32 (n,), 0..1.
        classes: int64 (n,): numbers of classes.
        names: names of all classes the model knows, in the order of their numbers.
    """

    scores: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    elsewhere: ClassVar[Mapping[str, str]] = ELSEWHERE

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    @abstractmethod
    def __getitem__(self, index: int) -> Item: ...

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for number in self.classes.tolist():
            counts[self.class_name(number)] = counts.get(self.class_name(number), 0) + 1
        found = ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
        return f"{type(self).__name__}({found}{self.stand_in and f'; {self.stand_in}'})"

    def class_name(self, number: int) -> str:
        """Returns the name of a class: its number where the model has no such class."""
        return self.names[number] if 0 <= number < len(self.names) else str(number)

    def of_classes(self: Objects, numbers: Collection[int]) -> Objects:
        """Returns the objects of some classes, given by their numbers, in the same order."""
        import numpy as np

        chosen = np.flatnonzero(np.isin(self.classes, list(numbers)))
        parts: dict[str, Any] = {}
        for field in fields(cast("Any", self)):
            values = getattr(self, field.name)
            if isinstance(values, np.ndarray):
                parts[field.name] = values[chosen]
            elif isinstance(values, tuple) and field.name != "names":
                parts[field.name] = tuple(values[index] for index in chosen)
        part = replace(cast("Any", self), **parts)
        if self._origin:
            part.found_on(self._origin)
        return cast("Objects", part)

    def to_supervision(self) -> Any:
        """Returns the objects as `supervision.Detections`, with all that these have a place for.

        Raises:
            MissingToolError: supervision is not installed.
        """
        from edgecompile.runtime.tasks import _supervision

        return _supervision.detections_of(cast("Boxed", self), **self.supervision_fields())

    def supervision_fields(self) -> SupervisionFields:
        """Returns what the task knows beside boxes, scores and classes."""
        return {}


def rounded(values: np.ndarray, digits: int = 3) -> list[Any]:
    """Returns numbers as nested lists: pixels to a thousandth."""
    import numpy as np

    plain: list[Any] = np.round(values.astype(np.float64), digits).tolist()
    return plain


def text_lines(rows: Sequence[tuple[str, float, Sequence[float], str]]) -> Iterator[str]:
    """Yields a result as lines of text: how many objects, then of each name, score, numbers and a remark."""
    yield f"{len(rows)} object{'' if len(rows) == 1 else 's'}"
    width = max((len(escape(name)) for name, *_ in rows), default=0)
    for name, score, numbers, remark in rows:
        columns = "  ".join(f"{value:7.1f}" for value in numbers)
        yield f"{escape(name):<{width}}  {score:.2f}  {columns}{remark}"


@dataclass(frozen=True)
class Limit:
    """How far a part of a result may be from the golden part: rounding.

    Attributes:
        part: key of the golden result.
        noun: of its numbers, for people.
        most: largest difference.
        unit: behind that difference, for people.
    """

    part: str
    noun: str
    most: float
    unit: str = ""


BOXES, SCORES = Limit("boxes", "boxes", 0.01, PIXELS), Limit("scores", "scores", 1e-4, SCORE)


def agreement(arrays: Mapping[str, np.ndarray], golden: Any, limits: Sequence[Limit]) -> Agreement:
    """Demands as many objects, equal classes, and numbers that are equal but for rounding.

    Args:
        arrays: parts of the result, (n, ...), `classes` among them.
        golden: parts of the golden result as plain JSON, by the same names.
        limits: of each part but the classes; `scores` among them.

    Raises:
        BundleError: the golden result is malformed.
    """
    import numpy as np

    try:
        classes = np.array(golden["classes"], np.int64)
        golden_arrays = {
            limit.part: np.array(golden[limit.part], np.float64).reshape(len(classes), *arrays[limit.part].shape[1:])
            for limit in limits
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(f"the golden objects are malformed: {error!r}") from None
    if classes.ndim != 1 or not all(np.isfinite(values).all() for values in golden_arrays.values()):
        raise BundleError("the golden objects are malformed: not a list of finite numbers")
    if len(arrays["classes"]) != len(classes) or not np.array_equal(arrays["classes"], classes):
        return Agreement(False, f"{len(arrays['classes'])} instead of {len(classes)}, or of other classes")
    gaps = {limit: float(np.abs(arrays[limit.part] - golden_arrays[limit.part]).max(initial=0.0)) for limit in limits}
    detail = ", ".join(f"{limit.noun} within {gap:.2g}{limit.unit}" for limit, gap in gaps.items())
    return Agreement(all(gap <= limit.most for limit, gap in gaps.items()), f"{len(classes)}, {detail}")
