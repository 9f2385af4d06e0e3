"""`StreamRate`: how many pictures a second a stream makes, against one prediction after another, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypedDict, cast

if TYPE_CHECKING:
    from edgecompile.runtime.predictor import Predictor
    from edgecompile.runtime.sources import Picture

SECONDS = 5.0
"""For how long streams are measured, where nothing else is asked for."""
LEAST_ROUNDS = 3
FEWEST, MOST = 8, 64
"""Pictures of one turn: more where predictions are quick, so that filling and emptying the stream weigh little."""
ALONE, AS_OPEN, FOR_MANY = "predict", "latency", "throughput"


class StreamRateDocument(TypedDict):
    """`StreamRate` as JSON."""

    fps: float
    setting: str
    requests: int
    threads: int
    remark: str
    gain: list[float]
    predict_fps: float
    as_open_fps: float
    rounds: int
    pictures: int


@dataclass(frozen=True)
class StreamRate:
    """Pictures a second of `Predictor.stream`, from pictures in memory to results in order.

    Attributes:
        fps: in the setting that a long stream goes on in; median of the rounds.
        setting, requests, threads, remark: of that stream; see `edgecompile.runtime.stream.Pipeline`.
        gain: quartiles of how many times `predict_fps` that is, round by round.
        predict_fps: one prediction after another, in the same rounds.
        as_open_fps: of a stream on the model as `predict` has it open.
        rounds, pictures: how often each way had its turn, and how many pictures a turn has.
    """

    fps: float
    setting: str
    requests: int
    threads: int
    remark: str
    gain: tuple[float, float, float]
    predict_fps: float
    as_open_fps: float
    rounds: int
    pictures: int

    def to_json(self) -> StreamRateDocument:
        """Returns the rate as plain JSON."""
        return cast("StreamRateDocument", {**asdict(self), "gain": list(self.gain)})

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> StreamRate:
        """Returns the rate that `to_json` wrote.

        Raises:
            KeyError, TypeError: it is none.
        """
        return cls(**{**document, "gain": tuple(document["gain"])})

    def line(self) -> str:
        """Returns the rate as a line for people."""
        low, middle, high = self.gain
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        remark = f" ({self.remark})" if self.remark else ""
        return (
            f"{self.fps:.1f} FPS, {middle:.2f} times one after another (quartiles {low:.2f} to {high:.2f}): "
            f"{self.setting} setting, {self.requests} in flight, {threads}{remark}; "
            f"as it is open {self.as_open_fps:.1f} FPS"
        )


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
