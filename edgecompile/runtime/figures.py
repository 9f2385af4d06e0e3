"""Figures of an artifact that equal inputs reproduce: the section `figures` of manifests and reports.

It holds the metrics of the task by their names, with a title for each, so that code that shows figures need not know
the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

OLD_MAIN, OLD_DROP = "map50_95", "map_drop"
OLD_TITLES = {OLD_MAIN: "mAP50-95", "map50": "mAP50", OLD_DROP: "mAP50-95 drop"}
"""Values that documents leave out which were written when every model was a detector."""
ACCURACY_DROP = "accuracy_drop"
"""Name that the drop of the main metric has for every task, beside the task's own name for it."""
RELATIVE_DROP = "relative_drop"
"""Name of the drop as a share of the float model's main metric."""
SCORE_SHIFT = "score_shift"
"""Name of the size of the median shift of scores, up or down."""


class LayerShare(TypedDict):
    """Layers with weights, and the products that they add for one picture of the usual size."""

    layers: int
    macs: int


class Coverage(LayerShare):
    """The layers with weights of an artifact: all of them, and by precision."""

    by_precision: Mapping[str, LayerShare]


class Distance(TypedDict):
    """Raw outputs of the artifact against those of the float model: largest difference, cosine, SQNR in decibels."""

    max: float | None
    cosine: float | None
    sqnr_db: float | None


FAR = Distance(max=None, cosine=None, sqnr_db=None)
"""A distance that is not known."""


class DropError(TypedDict):
    """How far the drop may be from that on all pictures of the kind, by leaving groups of pictures out in turn.

    standard_error: of the drop of the main metric, paired: both models on the same pictures.
    groups: that were left out in turn; of one picture each where there are as many as pictures.
    same: whether both models did the same on every picture, scores within rounding: then there is nothing to prove.
    """

    standard_error: float
    groups: int
    same: bool


class AtThreshold(TypedDict):
    """What a user of a threshold sees: objects found above it, and the precision and the recall of these; None where
    nothing was found, or nothing is labelled."""

    found: int
    precision: float | None
    recall: float | None


class ScoreChange(TypedDict):
    """What became of the scores of the float model.

    threshold: score that a prediction shows objects from; None for a task without such a threshold.
    reference: the float model above it; None without a threshold.
    artifact: the same of the artifact.
    matched: what both models found; the shifts are over these.
    median_shift: median of the score of the artifact less that of the float model; None where nothing was matched.
    largest_shift: the largest size of such a difference.
    """

    threshold: float | None
    reference: AtThreshold | None
    artifact: AtThreshold | None
    matched: int
    median_shift: float | None
    largest_shift: float | None


ClassFigures = Mapping[str, "float | int | None"]
"""Metrics of one class, and `objects`: how many of it there are."""


@dataclass(frozen=True)
class Figures:
    """Accuracy of an artifact beside that of the float model, on the same pictures; its distance, size and layers.

    Attributes:
        main: name of the metric that verdicts weigh.
        drop: name of its loss against the float model.
        titles: each metric, and the drop, to its title.
        metrics: of the artifact, 0..1, the larger the better; the main metric first.
        reference: of the float model.
        per_class: name of each class that occurs to its figures.
        reference_per_class: of the float model.
        pictures: validated on.
        objects: labelled on them.
        size_bytes: of the artifact's files.
        distance: of the raw outputs from those of the float model: max, cosine, sqnr_db.
        coverage: layers with weights by precision, see `edgecompile.evaluate.coverage`; None where none were counted.
        drop_error: of the drop; None where the task does not tell, and in bundles of before there was one.
        scores: what became of them; None likewise.
    """

    main: str
    drop: str
    titles: Mapping[str, str]
    metrics: Mapping[str, float]
    reference: Mapping[str, float]
    per_class: Mapping[str, ClassFigures]
    reference_per_class: Mapping[str, ClassFigures]
    pictures: int
    objects: int
    size_bytes: int
    distance: Distance = field(default_factory=lambda: FAR)
    coverage: Coverage | None = None
    drop_error: DropError | None = None
    scores: ScoreChange | None = None

    @property
    def accuracy(self) -> float:
        """The main metric."""
        return self.metrics[self.main]

    @property
    def float_accuracy(self) -> float:
        """The main metric of the float model."""
        return self.reference[self.main]

    @property
    def lost(self) -> float:
        """The drop: by how much the main metric is below that of the float model."""
        return round(self.float_accuracy - self.accuracy, 6)

    @property
    def relative_drop(self) -> float | None:
        """The drop as a share of the float model's main metric; None where that is 0."""
        return round(self.lost / self.float_accuracy, 6) if self.float_accuracy else None

    @property
    def score_shift(self) -> float | None:
        """The size of the median shift of scores; None where it is not known."""
        shift = self.scores["median_shift"] if self.scores else None
        return None if shift is None else abs(shift)

    def title(self, name: str) -> str:
        """Returns the title of a metric."""
        return self.titles.get(name, name)

    def falls(self) -> list[tuple[str, float, float]]:
        """Returns (class, main metric of the float model, that of the artifact), the deepest fall first."""
        pairs = [
            (name, before[self.main] or 0.0, after[self.main] or 0.0)
            for name, before in self.reference_per_class.items()
            if (after := self.per_class.get(name))
        ]
        return sorted(pairs, key=lambda pair: (pair[2] - pair[1], pair[0]))

    def by_name(self) -> dict[str, float | None]:
        """Returns the numbers that gates and searches may name; None for what is not known."""
        return {
            **self.metrics,
            self.drop: self.lost,
            ACCURACY_DROP: self.lost,
            RELATIVE_DROP: self.relative_drop,
            SCORE_SHIFT: self.score_shift,
            "size_bytes": self.size_bytes,
        }

    def to_json(self) -> dict[str, Any]:
        """Returns the section as it stands in manifests and reports: each metric under its own name."""
        return {
            "main": self.main,
            "drop": self.drop,
            "titles": dict(self.titles),
            **self.metrics,
            self.drop: self.lost,
            "per_class": {name: dict(metrics) for name, metrics in self.per_class.items()},
            "reference": {
                **self.reference,
                "per_class": {name: dict(metrics) for name, metrics in self.reference_per_class.items()},
            },
            "pictures": self.pictures,
            "objects": self.objects,
            "size_bytes": self.size_bytes,
            "distance": dict(self.distance),
            "coverage": dict(self.coverage) if self.coverage else None,
            "drop_error": dict(self.drop_error) if self.drop_error else None,
            "scores": dict(self.scores) if self.scores else None,
        }


def figures_from(document: Mapping[str, Any]) -> Figures:
    """Reads the section of a manifest or a report, of whatever version.

    Raises:
        KeyError, TypeError, AttributeError: it lacks or misstates something.
    """
    main, drop = str(document.get("main", OLD_MAIN)), str(document.get("drop", OLD_DROP))
    titles: Mapping[str, str] = document.get("titles", OLD_TITLES)
    rest = [name for name in titles if name not in (main, drop)]
    names = [main, *sorted(rest, key=lambda name: (len(name), name))]  # a document's keys stand in alphabetical order
    reference = document["reference"]
    return Figures(
        main=main,
        drop=drop,
        titles={str(name): str(title) for name, title in titles.items()},
        metrics={name: document[name] for name in names},
        reference={name: reference[name] for name in names},
        per_class=document["per_class"],
        reference_per_class=reference["per_class"],
        pictures=document["pictures"],
        objects=document["objects"],
        size_bytes=document["size_bytes"],
        distance=document["distance"],
        coverage=document.get("coverage"),
        drop_error=document.get("drop_error"),
        scores=document.get("scores"),
    )
