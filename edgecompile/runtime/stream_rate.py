"""`StreamRate`: how many pictures a second a stream makes, against one prediction after another, in turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypedDict, cast

SECONDS = 5.0
"""For how long streams are measured, where nothing else is asked for."""


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
