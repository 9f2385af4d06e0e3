"""Classification: how probable each class is for a whole picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypedDict, cast

from edgecompile.errors import BundleError
from edgecompile.json_types import JsonObject
from edgecompile.runtime import tasks
from edgecompile.runtime.tasks import Agreement, Given, OutputError, Parts, Setting
from edgecompile.runtime.tasks._shown import Shown
from edgecompile.text import escape

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.geometry import Geometry
    from edgecompile.runtime.spec_document import SpecDocument

PROBABILITIES = "probabilities"
"""How the output is read: a probability for each class, softmax in the graph."""
USUAL_TOP = 5
MOST_PROBABILITY_OFF = 1e-4
PROBABILITY_SLACK = 0.01
"""How far beyond 0..1 a probability may lie: rounding of 8 bits."""


class OutputDocument(TypedDict):
    """`output` of spec.json: name and shape (n, classes) of the output, and how it is read."""

    name: str
    shape: list[int]
    decode: str


class ClassifyDocument(TypedDict):
    """The parts of spec.json that are classification's. `top`: how many classes a result lists."""

    output: OutputDocument
    top: int


class Class(NamedTuple):
    """One class: its name, how probable it is, 0..1, and its number."""

    name: str
    score: float
    class_id: int


ELSEWHERE = {
    "probs": "result.probabilities, result.top1 and result.top5",
    "conf": "result.scores",
    "top1conf": "result.top1.score",
    "orig_img": "what was handed over; result.plot() draws on it",
    "speed": "model.timings",
    "show": "result.plot(), an array, or result.save(path)",
    "boxes": "for models that find objects only",
    "summary": "result.to_dict()",
    "to_json": "json.dumps(result.to_dict())",
}
"""What Ultralytics calls the parts of a result."""


@dataclass(frozen=True, eq=False)
class Classification(Shown):
    """How probable each class is for one picture. Iterating gives the best classes, best first.

    Attributes:
        probabilities: float32 (classes,), 0..1, in the order of the classes' numbers.
        classes: int64 (top,): numbers of the best classes, best first; of equals, the lower number first.
        names: names of all classes the model knows, in the order of their numbers.
    """

    probabilities: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    elsewhere: ClassVar[Mapping[str, str]] = ELSEWHERE

    @property
    def scores(self) -> np.ndarray:
        """Probabilities of the best classes, float32 (top,)."""
        return self.probabilities[self.classes]

    @property
    def top1(self) -> Class:
        """The best class."""
        return self[0]

    @property
    def top5(self) -> tuple[Class, ...]:
        """The best five classes, or all of fewer, best first."""
        return tuple(self._class(int(number)) for number in best(self.probabilities, USUAL_TOP))

    def __len__(self) -> int:
        """Returns how many classes the result lists."""
        return len(self.classes)

    def __iter__(self) -> Iterator[Class]:
        return (self._class(number) for number in self.classes.tolist())

    def __getitem__(self, index: int) -> Class:
        return self._class(int(self.classes[index]))

    def __repr__(self) -> str:
        labels = ", ".join(f"{label.name} {label.score:.2f}" for label in self)
        return f"Classification({labels}{self.stand_in and f'; {self.stand_in}'})"

    def to_dict(self) -> JsonObject:
        """Returns plain JSON values: the best classes, by number, name and probability to six digits."""
        return {
            "classes": self.classes.tolist(),
            "names": [label.name for label in self],
            "scores": [round(label.score, 6) for label in self],
        }

    def to_supervision(self) -> Any:
        """Returns the probabilities of all classes as `supervision.Classifications`.

        Raises:
            MissingToolError: supervision is not installed.
        """
        from edgecompile.runtime.tasks._supervision import classifications_of

        return classifications_of(self.probabilities)

    def _class(self, number: int) -> Class:
        return Class(self.names[number], float(self.probabilities[number]), number)


class Task(tasks.Task[Classification]):
    """Classification, as a spec describes it.

    Attributes:
        top: how many classes a result lists, unless a prediction asks for another number.
    """

    noun: ClassVar[str] = "classes"
    settings: ClassVar[tuple[Setting, ...]] = (Setting("top", int, "how many classes are listed, the best first"),)

    def __init__(self, document: SpecDocument, names: tuple[str, ...]) -> None:
        own = cast("ClassifyDocument", document)
        output = own["output"]
        self.names = names
        self.outputs = (str(output["name"]),)
        self.top = int(own["top"])
        if output["decode"] != PROBABILITIES:
            raise BundleError(f"spec.json: output.decode is {output['decode']!r}, this task reads {PROBABILITIES!r}")
        if self.top < 1:
            raise BundleError(f"spec.json: top is {self.top}, expected at least 1")
        shape = [int(side) for side in output["shape"]]
        if not names or len(shape) != 2 or shape[1] not in (-1, len(names)):
            raise BundleError(f"spec.json: the output {shape} does not fit {len(names)} classes")

    def decode(self, outputs: Sequence[np.ndarray], geometry: Geometry, slot: int, given: Given) -> Classification:
        import numpy as np

        (setting,) = self.settings
        top = int(setting.checked(self.top if given.get("top") is None else given["top"]))
        row = self._row(outputs[0], slot).astype(np.float32)
        least, greatest = float(row.min()), float(row.max())
        if not (least >= -PROBABILITY_SLACK and greatest <= 1 + PROBABILITY_SLACK):  # NaN is in no range
            worst = least if greatest <= 1 + PROBABILITY_SLACK else greatest
            raise OutputError(f"output '{self.outputs[0]}' of the model holds the probability {worst:g}, expected 0..1")
        return Classification(row, best(row, top), self.names)

    def _row(self, output: np.ndarray, slot: int) -> np.ndarray:
        """Returns the numbers of one picture of the stack.

        Raises:
            OutputError: the output has another shape, or holds something other than numbers.
        """
        shape: tuple[int, ...] = getattr(output, "shape", ())
        kind = getattr(getattr(output, "dtype", None), "kind", "O")
        if kind not in "fiu" or len(shape) != 2 or shape[1] != len(self.names) or not slot < shape[0]:
            actual = f"{list(shape)}, and numbers in it: {'yes' if kind in 'fiu' else 'no'}"
            raise OutputError(
                f"output '{self.outputs[0]}' of the model is {actual}; expected numbers {['n', len(self.names)]}"
            )
        return output[slot]

    def parts(self, reference: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Parts:
        return {"probabilities": (reference[0], other[0])}

    def draw(self, image: np.ndarray, result: Classification) -> np.ndarray:
        """Returns a copy of the picture with a line for each class that the result lists, the best on top."""
        from edgecompile.runtime.tasks import _drawing

        canvas = image.copy()
        scale, top = _drawing.scale_of(canvas), 0
        for label in result:
            color = _drawing.color_of(label.class_id)
            top = _drawing.draw_text(canvas, f"{label.name} {label.score:.2f}", 0, top, color, scale)
        return canvas

    def lines(self, result: Classification) -> Iterable[str]:
        yield f"{escape(result.top1.name)} {result.top1.score:.2f}"
        width = max(len(escape(label.name)) for label in result)
        for label in result:
            yield f"{escape(label.name):<{width}}  {label.score:.4f}"

    def fields(self, result: Classification) -> JsonObject:
        classes: list[JsonObject] = [
            {"name": label.name, "class": label.class_id, "score": round(label.score, 6)} for label in result
        ]
        return {"classes": classes}

    def golden(self, result: Classification) -> JsonObject:
        """Returns the best classes as numbers and probabilities."""
        return {
            "classes": result.classes.tolist(),
            "scores": [round(score, 6) for score in result.scores.tolist()],
        }

    def agreement(self, result: Classification, golden: Any) -> Agreement:
        """Demands equal classes in equal order, but where they tie, and equal probabilities but for rounding."""
        import numpy as np

        try:
            classes = np.array(golden["classes"], np.int64)
            scores = np.array(golden["scores"], np.float64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BundleError(f"the golden classes are malformed: {error!r}") from None
        known = classes.ndim == 1 and len(classes) > 0 and set(classes.tolist()) <= set(range(len(self.names)))
        if not known or scores.shape != classes.shape:
            raise BundleError(f"the golden classes are malformed: {classes.size} classes, {scores.size} scores")
        off = float(np.abs(result.probabilities[classes] - scores).max())
        worst = float(scores.min())
        passed_over = np.delete(result.probabilities, classes)
        better = float(passed_over.max(initial=0.0)) - worst
        met = off <= MOST_PROBABILITY_OFF and better <= MOST_PROBABILITY_OFF
        label = escape(self.names[int(classes[0])])
        return Agreement(met, f"{label} first of {len(classes)}; within {off:.2g}")


def best(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Returns the numbers of the most probable classes, int64 (count,), or all of fewer, best first; of equals, the
    lower number first."""
    import numpy as np

    return np.argsort(-probabilities, kind="stable")[:count].astype(np.int64, copy=False)
