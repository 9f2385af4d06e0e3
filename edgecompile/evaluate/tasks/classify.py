"""Classification: top-1 and top-5 accuracy, as Ultralytics' own validation computes them.

Labels meet the model's classes by their names. Pictures of a class that the model lacks count towards no figure, as in
Ultralytics; the build remarks on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from edgecompile.data import class_name_labels
from edgecompile.data.class_name_labels import ClassNameLabel
from edgecompile.data.label_lines import CheckedLabels, LabelFacts, LabelForm, LabelLines
from edgecompile.evaluate import tasks
from edgecompile.evaluate.tasks import Accuracy, Gaps, Metric, Outline, OutputFacts, StatedFacts, WholeLabel
from edgecompile.json_types import JsonObject
from edgecompile.runtime.figures import ScoreChange
from edgecompile.runtime.spec_document import SpecDocument
from edgecompile.runtime.tasks import Given
from edgecompile.runtime.tasks.classify import PROBABILITIES, USUAL_TOP, Classification, ClassifyDocument, best

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.evaluate.evidence import Evidence
    from edgecompile.runtime.spec import Spec

TOLERANCE = 2e-4
"""Largest difference of a probability that rounding explains."""
PLAUSIBLE = 0.05
"""Probability from which on a class is one that the picture may show."""


@dataclass(frozen=True)
class RankedLabel:
    """Where the labelled class of a picture stands among the best.

    Attributes:
        name: of the class; None for a picture without a label, or of a class that the model lacks.
        rank: from 0; None where it is not among the best five.
    """

    name: str | None
    rank: int | None


class Task(tasks.Task[Classification, ClassNameLabel, RankedLabel]):
    """Classification."""

    checkpoints: ClassVar[tuple[str, ...]] = ("classify",)
    heads: ClassVar[tuple[str, ...]] = ("Classify",)
    plain_decode: ClassVar[str] = PROBABILITIES
    label_form: ClassVar[LabelForm] = LabelForm.CLASS_NAME
    size_multiple: ClassVar[int] = 1
    usual_size: ClassVar[int] = 224
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("top1", "top-1 accuracy"), Metric("top5", "top-5 accuracy"))
    drop: ClassVar[Metric] = Metric("top1_drop", "top-1 accuracy drop")

    def describe(self, outputs: Sequence[OutputFacts], decode: str, stated: StatedFacts) -> JsonObject:
        """Returns `output`, `top` and `letterbox`.

        Pictures are brought to size as Ultralytics does it for classification: the shortest side is scaled to that of a
        square, what is too long is cut off at both ends; to any other size they are stretched.
        """
        height, width = stated["imgsz"]
        return {
            "output": {"name": outputs[0].name, "shape": list(outputs[0].shape), "decode": decode},
            "top": USUAL_TOP,
            "letterbox": {
                "size": [int(height), int(width)],
                "fill": 0,
                "center": True,
                "scale_up": True,
                "interpolation": "antialias",
                "resize": "crop" if height == width else "stretch",
            },
        }

    def renamed(self, spec: SpecDocument, shapes: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, Any]:
        output = cast("ClassifyDocument", spec)["output"]
        name = names[0] if names else output["name"]
        return {"output": {**output, "name": name, "shape": list(shapes[0])}}

    def gaps(self, before: Sequence[np.ndarray], after: Sequence[np.ndarray], spec: SpecDocument) -> Gaps:
        import numpy as np

        return {PROBABILITIES: float(np.abs(before[0] - after[0]).max(initial=0.0))}

    def tolerances(self, size: Sequence[int]) -> dict[str, float]:
        return {PROBABILITIES: TOLERANCE}

    def class_remarks(self, data: Sequence[str], model: Sequence[str]) -> list[str]:
        """Returns which classes of the data set the model lacks, by their names."""
        lacking = [name for name in data if name not in set(model)]
        if not lacking:
            return []
        shown = ", ".join(f"'{name}'" for name in lacking[:USUAL_TOP]) + (", …" if len(lacking) > USUAL_TOP else "")
        lacks = "knows no class of the data set" if len(lacking) == len(data) else f"lacks {len(lacking)} classes"
        return [f"the model {lacks}, whose pictures count for nothing: {shown}"]

    def foreign_classes(self, data: Sequence[str], model: Sequence[str]) -> str:
        """Classes meet by their names."""
        if set(data) & set(model):
            return ""
        theirs, ours = (", ".join(f"'{name}'" for name in names[:USUAL_TOP]) for names in (data, model))
        return (
            f"the model knows no class of the data set ({theirs}), but {ours}{', …' if len(model) > USUAL_TOP else ''}"
        )

    def check_labels(self, lines: LabelLines, facts: LabelFacts) -> CheckedLabels:
        return class_name_labels.check_labels(lines, facts)

    def read_labels(self, lines: LabelLines, facts: LabelFacts) -> ClassNameLabel:
        return class_name_labels.read_labels(lines, facts)

    def options(self, settings: Mapping[str, float | int], truth: Sequence[ClassNameLabel]) -> Given:
        return {"top": USUAL_TOP}

    def judge(self, result: Classification, truth: ClassNameLabel, size: tuple[int, int]) -> RankedLabel:
        """Ranks the labelled class. Where two classes of the model have one name, it is the latter, as in
        Ultralytics."""
        if truth.name is None or truth.name not in result.names:
            return RankedLabel(None, None)
        number = len(result.names) - 1 - result.names[::-1].index(truth.name)
        ranked = best(result.probabilities, USUAL_TOP).tolist()
        return RankedLabel(truth.name, ranked.index(number) if number in ranked else None)

    def accuracy(
        self, judged: Sequence[RankedLabel], truth: Sequence[ClassNameLabel], names: tuple[str, ...]
    ) -> Accuracy:
        """Returns shares of pictures, rounded to 6 digits."""
        known = [label for label in judged if label.name is not None]
        by_class: dict[str, list[RankedLabel]] = {}
        for label in known:
            by_class.setdefault(str(label.name), []).append(label)
        ordered = sorted(by_class, key=names.index)
        return Accuracy(
            metrics=_shares(known),
            per_class={name: {**_shares(by_class[name]), "objects": len(by_class[name])} for name in ordered},
            objects=len(known),
            found=len(known),
            pictures=len(known),
        )

    def evidence(self, result: Classification, judged: RankedLabel) -> dict[str, np.ndarray]:
        """Returns of a picture, each in an array of one: `counts`, whether its label counts, `first`, whether it is the
        best class, and number and probability of the best class, `best` and `probability`."""
        import numpy as np

        number = int(best(result.probabilities, 1)[0])
        return {
            "counts": np.array([judged.name is not None]),
            "first": np.array([judged.rank == 0]),
            "best": np.array([number], np.int32),
            "probability": np.array([result.probabilities[number]], np.float32),
        }

    def main_without(self, evidence: Evidence, groups: np.ndarray, count: int) -> np.ndarray:
        import numpy as np

        sums = (np.bincount(groups, evidence[name].astype(np.float64), count) for name in ("first", "counts"))
        first, counted = (values.sum() - values for values in sums)
        return first / np.maximum(counted, 1)

    def score_change(
        self, reference: Evidence, artifact: Evidence, spec: Spec, settings: Mapping[str, float | int]
    ) -> ScoreChange | None:
        """Returns the shift of the best class's probability, over the pictures on which both models name the same."""
        import numpy as np

        from edgecompile.evaluate.score_changes import change_of

        alike = reference["best"] == artifact["best"]
        before, after = (side["probability"][alike].astype(np.float64) for side in (reference, artifact))
        return change_of(after - before)

    def disagreement(self, reference: Classification, other: Classification) -> tuple[float, float] | None:
        """Returns the probability that moved from one class to another, 0..1, of 1."""
        import numpy as np

        return float(np.abs(reference.probabilities - other.probabilities).sum()) / 2, 1.0

    def count_sure(self, result: Classification, spec: Spec) -> int:
        """Returns how many classes the picture may show: where several may, the least change of the outputs shows."""
        return int((result.probabilities >= PLAUSIBLE).sum())

    def results(self, result: Classification) -> list[JsonObject]:
        """Returns a row for each of the best classes."""
        return [{"category_id": label.class_id, "score": round(label.score, 6)} for label in result]

    def outlines(self, golden: Any) -> list[Outline]:
        return []

    def whole_labels(self, golden: Any) -> list[WholeLabel]:
        return [WholeLabel(*pair) for pair in zip(golden["classes"], golden["scores"], strict=True)]


def _shares(labels: Sequence[RankedLabel]) -> dict[str, float | int]:
    """Returns the share of labels that are the best class, and that are among the best five."""
    count = max(len(labels), 1)
    first = sum(label.rank == 0 for label in labels)
    among = sum(label.rank is not None for label in labels)
    return {"top1": round(first / count, 6), "top5": round(among / count, 6)}
