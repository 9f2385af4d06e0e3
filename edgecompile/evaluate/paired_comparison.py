"""Step: an artifact beside the float model, picture by picture: how sure the drop is, and what became of scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from edgecompile.evaluate.evidence import Evidence, load_evidence
from edgecompile.evaluate.jackknife import group_count, groups_of, standard_error
from edgecompile.evaluate.tasks import Task, find_task
from edgecompile.runtime.figures import DropError, ScoreChange
from edgecompile.runtime.spec import read_spec

ROUNDING = 1e-3
"""Shift of a score that another order of summation explains."""
DIGITS = 6


class PairedFacts(TypedDict):
    """What the step returns; None for what the task does not tell."""

    drop_error: DropError | None
    scores: ScoreChange | None


def compare(
    out: Path, *, reference: Path, artifact: Path, spec: Path, settings: Mapping[str, float | int]
) -> PairedFacts:
    """Compares two evaluations on the same pictures.

    Args:
        reference: folder of `accuracy.evaluate` for the float model.
        artifact: folder of the same step for the artifact.
        spec: the artifact's spec.json, which has the threshold of a prediction.
        settings: of the recipe's `evaluate`, those that the task reads.
    """
    opened = read_spec(spec)
    task = find_task(opened.document["task"])
    before, after = load_evidence(reference), load_evidence(artifact)
    scores = task.score_change(before, after, opened, settings) if before.pictures else None
    return {"drop_error": drop_error(task, before, after, scores), "scores": scores}


def drop_error(
    task: Task[Any, Any, Any], before: Evidence, after: Evidence, scores: ScoreChange | None = None
) -> DropError | None:
    """Returns the standard error of the drop of the main metric.

    Args:
        before: of the float model.
        after: of the artifact.
        scores: what became of scores, which tells equal models from models of equal hits.

    Returns:
        None where the task keeps no evidence, or there are fewer than two pictures.
    """
    pictures = before.pictures
    count = group_count(pictures)
    if count < 2:
        return None
    groups = groups_of(pictures)
    drops = task.main_without(before, groups, count + 1) - task.main_without(after, groups, count + 1)
    sizes = np.bincount(groups, minlength=count)
    constant = bool((drops == drops[0]).all())
    still = constant and drops[0] == 0 and scores is not None
    largest = scores["largest_shift"] if scores else None
    return {
        "standard_error": 0.0 if constant else round(standard_error(drops[count], drops[:count], sizes), DIGITS),
        "groups": count,
        "same": still and largest is not None and largest <= ROUNDING,
    }
