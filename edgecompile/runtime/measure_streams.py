"""Measures how many pictures a second a stream makes, against one prediction after another, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgecompile.runtime.stream_rate import SECONDS, StreamRate

if TYPE_CHECKING:
    from edgecompile.runtime.predictor import Predictor
    from edgecompile.runtime.sources import Picture

LEAST_ROUNDS = 3
FEWEST, MOST = 8, 64
"""Pictures of one turn: more where predictions are quick, so that filling and emptying the stream weigh little."""
ALONE, AS_OPEN, FOR_MANY = "predict", "latency", "throughput"


def stream_rate(model: Predictor, images: Sequence[Picture], seconds: float = SECONDS, **settings: Any) -> StreamRate:
    """Has `predict` and streams in both settings take turns on the same pictures.

    Args:
        images: in memory, for what is measured is no reading of files.
        seconds: for how long; at least three rounds.
        settings: of each prediction.
    """
    began = time.perf_counter()
    model.predict(images[0], **settings)
    each = (time.perf_counter() - began) * LEAST_ROUNDS * 3
    count = max(FEWEST, min(MOST, int(seconds / max(each, 1e-6))))
    turn = [images[number % len(images)] for number in range(count)]
    with model.stream(turn, hint=FOR_MANY, **settings) as stream:
        for _ in stream:  # warms up too
            pass
        pipeline = stream.pipeline
    ways: dict[str, Callable[[], Any]] = {
        ALONE: lambda: [model.predict(image, **settings) for image in turn],
        AS_OPEN: lambda: list(model.stream(turn, hint=AS_OPEN, **settings)),
        FOR_MANY: lambda: list(model.stream(turn, hint=FOR_MANY, **settings)),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    deadline = time.perf_counter() + seconds
    while len(rates[ALONE]) < LEAST_ROUNDS or time.perf_counter() < deadline:
        for name, way in ways.items():
            since = time.perf_counter()
            way()
            rates[name].append(count / (time.perf_counter() - since))
    gains = [many / one for many, one in zip(rates[FOR_MANY], rates[ALONE], strict=True)]
    medians = {name: round(statistics.median(values), 2) for name, values in rates.items()}
    low, middle, high = (round(value, 3) for value in statistics.quantiles(gains, n=4, method="inclusive"))
    return StreamRate(
        fps=medians[FOR_MANY],
        setting=pipeline.setting,
        requests=pipeline.requests,
        threads=pipeline.threads,
        remark=pipeline.remark,
        gain=(low, middle, high),
        predict_fps=medians[ALONE],
        as_open_fps=medians[AS_OPEN],
        rounds=len(gains),
        pictures=count,
    )
