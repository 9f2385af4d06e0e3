"""Constructed timelines: a quiet run of a minute, and the same with one thing wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from edgecompile.runtime.timeline import GoldenLook, Moment, Prediction, Timeline

PER_MOMENT = 25
USUAL_MS = 10.0
MOMENT_S = 0.25


def quiet(moments: int = 200, seed: int = 0, **facts: Any) -> Timeline:
    """Returns a run in which nothing is wrong: latency varies by 2 %, with a hiccup now and then; memory settles and
    then moves by single pages."""
    chance = random.Random(seed)
    return Timeline(
        cores=2,
        threads=2,
        seconds=moments * MOMENT_S,
        pause_ms=0.0,
        shapes=((256, 256),),
        page_fault_ms=0.0005,
        predicted=moments * PER_MOMENT,
        predictions=tuple(
            _prediction(number, place, chance) for number in range(moments) for place in range(PER_MOMENT)
        ),
        moments=tuple(_moment(number, chance) for number in range(moments)),
        looks=(GoldenLook(1.0, True, "boxes: difference 0"),),
        **facts,
    )


def _prediction(moment: int, place: int, chance: random.Random) -> Prediction:
    total = USUAL_MS * chance.gauss(1.0, 0.02) * (1.7 if chance.random() < 0.002 else 1.0)
    at = MOMENT_S * (moment + place / PER_MOMENT)
    return Prediction(at, total, 0.2, 0, 0, abs(chance.gauss(0, 0.05)), 0.0, 0.0, 5, 0, moment)


def _moment(number: int, chance: random.Random) -> Moment:
    grown = max(4.0 - 0.4 * number, 0.0) + chance.choice((0.0, 0.0, 0.0, 0.004096, -0.004096))
    return Moment(
        at_s=MOMENT_S * (number + 1), seconds=MOMENT_S, whole=number % 2 == 0, predictions=PER_MOMENT, foreign=0.004,
        stolen=0.0, resolution=0.08, mhz=2400, temperature_c=55.0, throttled=False, threads=9, memory_mb=150.0,
        grown_mb=grown, pictures_mb=0.2, results_mb=0.001, pictures_held=1,
        results_held=1,
    )  # fmt: skip


def with_predictions(timeline: Timeline, change: Any) -> Timeline:
    """Returns the timeline, each prediction replaced by what `change` returns for its number and it."""
    changed = tuple(change(number, one) for number, one in enumerate(timeline.predictions))
    return replace(timeline, predictions=changed)


def with_moments(timeline: Timeline, change: Any) -> Timeline:
    """Returns the timeline, each moment replaced by what `change` returns for its number and it."""
    return replace(timeline, moments=tuple(change(number, one) for number, one in enumerate(timeline.moments)))
