"""Evidence of invented evaluations, drawn from a fixed seed: pictures with objects, found with noise."""

from __future__ import annotations

import numpy as np

from edgecompile.evaluate.average_precision import MatchedDetections, match, overlaps
from edgecompile.evaluate.evidence import Evidence, gathered
from edgecompile.evaluate.tasks import find_task
from edgecompile.runtime.tasks.detect import Detections

DETECT = find_task("detect")


def drawn(
    pictures: int,
    noise: float,
    *,
    classes: int = 3,
    objects: int = 6,
    stray: int = 12,
    shift: float = 0.0,
    seed: int = 7,
) -> tuple[Evidence, list[MatchedDetections]]:
    """Returns the evidence of an evaluation, and what it was made of.

    Equal seeds give equal pictures and equal findings, but that `noise` moves boxes and scores further.

    Args:
        noise: of boxes, as a share of their sides, and of scores.
        objects: on a picture.
        stray: boxes around nothing, of a picture.
        shift: of all scores.
    """
    world, own = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    names = tuple(map(str, range(classes)))
    kept, judged = [], []
    for _ in range(pictures):
        truth = world.integers(0, classes, objects)
        corner, side = world.uniform(0, 400, (objects, 2)), world.uniform(20, 120, (objects, 2))
        boxes = np.concatenate((corner, corner + side), axis=1).astype(np.float32)
        moved = boxes + world.normal(0, 0.06, boxes.shape) * np.tile(side, 2)
        odd = world.uniform(0, 400, (stray, 2))
        scores = np.concatenate((world.beta(4, 2, objects), world.beta(1, 5, stray)))
        found = np.concatenate((moved, np.concatenate((odd, odd + 40), axis=1)))
        numbers = np.concatenate((truth, world.integers(0, classes, stray)))
        found = found + noise * own.normal(0, 1, found.shape) * 60
        scores = (scores + noise * own.normal(0, 1, scores.shape) + shift).clip(0.001, 1)
        order = np.argsort(-scores, kind="stable")
        result = Detections(
            found[order].astype(np.float32), scores[order].astype(np.float32), numbers[order].astype(np.int64), names
        )
        one = match(overlaps(boxes, result.boxes), result.scores, result.classes, truth)
        judged.append(one)
        kept.append(DETECT.evidence(result, {"": one}))
    return gathered(kept), judged
