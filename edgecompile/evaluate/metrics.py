"""Merges the facts of the validation steps into figures. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgecompile.evaluate.tasks import AccuracyFacts, Task
from edgecompile.runtime.figures import FAR, Coverage, Distance, Figures

if TYPE_CHECKING:
    from edgecompile.evaluate.paired_comparison import PairedFacts


def figures_of(
    task: Task[Any, Any, Any],
    reference: AccuracyFacts,
    artifact: AccuracyFacts,
    distance: Distance | None = None,
    coverage: Coverage | None = None,
    paired: PairedFacts | None = None,
) -> Figures:
    """Returns the figures of the manifest, which two builds of one recipe share.

    Args:
        task: of the model.
        reference: facts of `accuracy.evaluate` for the float model.
        artifact: facts of the same step for the artifact that ships.
        distance: facts of `distance.compare`.
        coverage: facts of `quantization.coverage.count`; None for an artifact whose format is not counted.
        paired: facts of `paired_comparison.compare`.
    """
    return Figures(
        main=task.main.name,
        drop=task.drop.name,
        titles={metric.name: metric.title for metric in (*task.metrics, task.drop)},
        metrics={metric.name: artifact["metrics"][metric.name] for metric in task.metrics},
        reference={metric.name: reference["metrics"][metric.name] for metric in task.metrics},
        per_class=artifact["per_class"],
        reference_per_class=reference["per_class"],
        pictures=artifact["pictures"],
        objects=artifact["objects"],
        size_bytes=artifact["size_bytes"],
        distance=Distance(max=distance["max"], cosine=distance["cosine"], sqnr_db=distance["sqnr_db"])
        if distance
        else FAR,
        coverage=coverage or None,
        drop_error=paired["drop_error"] if paired else None,
        scores=paired["scores"] if paired else None,
    )
