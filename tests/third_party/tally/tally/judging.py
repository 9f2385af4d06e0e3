"""Counting where bundles are built: labels of detection, and a score of how near the counts come to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from edgecompile.evaluate.tasks import Accuracy, Metric, Outline, Setting, detect


class Task(detect.Task):
    """Describes models and reads labels as detection does; judges the counts alone."""

    metrics: ClassVar[tuple[Metric, ...]] = (Metric("count_score", "counting score"),)
    drop: ClassVar[Metric] = Metric("count_drop", "counting score drop")
    settings: ClassVar[tuple[Setting, ...]] = (Setting("count_from", 0.4, "smallest score of what is counted"),)

    def options(self, settings: Mapping[str, Any], truth: Sequence[Any]) -> dict[str, Any]:
        return {"conf": settings["count_from"]}

    def judge(self, result: Any, truth: Any, size: tuple[int, int]) -> Any:
        labelled = truth.classes.tolist()
        return [(number, labelled.count(index)) for index, number in enumerate(result.numbers)]

    def accuracy(self, judged: Sequence[Any], truth: Sequence[Any], names: tuple[str, ...]) -> Accuracy:
        """Returns one less the share of the objects by which counts are off, in all and by class."""
        by_class = {name: [picture[index] for picture in judged] for index, name in enumerate(names)}
        objects = sum(len(labels.classes) for labels in truth)
        return Accuracy(
            metrics={"count_score": _score([pair for picture in judged for pair in picture])},
            per_class={
                name: {"count_score": _score(pairs), "objects": sum(labelled for _, labelled in pairs)}
                for name, pairs in by_class.items()
            },
            objects=objects,
            found=sum(number for picture in judged for number, _ in picture),
        )

    def evidence(self, result: Any, judged: Any) -> dict[str, Any]:
        """Returns by how many objects the counts of a picture are off, and how many are labelled on it."""
        import numpy as np

        off = sum(abs(number - labelled) for number, labelled in judged)
        return {"off": np.array([off]), "labelled": np.array([sum(labelled for _, labelled in judged)])}

    def main_without(self, evidence: Any, groups: Any, count: int) -> Any:
        import numpy as np

        off, labelled = (np.bincount(groups, evidence[name], count) for name in ("off", "labelled"))
        return np.maximum(1 - (off.sum() - off) / np.maximum(labelled.sum() - labelled, 1), 0)

    def score_change(self, reference: Any, artifact: Any, spec: Any, settings: Mapping[str, Any]) -> None:
        """Returns None: counts have no scores."""

    def count_sure(self, result: Any, spec: Any) -> int:
        return len(result)

    def results(self, result: Any) -> list[dict[str, Any]]:
        return [result.to_dict()]

    def outlines(self, golden: Any) -> list[Outline]:
        return []


def _score(pairs: Sequence[tuple[int, int]]) -> float:
    wrong = sum(abs(number - labelled) for number, labelled in pairs)
    return round(max(1 - wrong / max(sum(labelled for _, labelled in pairs), 1), 0.0), 6)
