"""What a backend states about the times of its layers; `edgecompile.runtime.layer_times` makes a profile of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

PRECISIONS = {
    "float": "fp32", "float32": "fp32", "f32": "fp32", "fp32": "fp32",
    "float16": "fp16", "f16": "fp16", "fp16": "fp16",
    "bfloat16": "bf16", "bf16": "bf16",
    "int8": "int8", "uint8": "int8", "i8": "int8", "u8": "int8",
}  # fmt: skip
"""Names that libraries have for types, to those that recipes have for precisions. Other types keep their name."""


@dataclass(frozen=True)
class Rounds:
    """How often a model runs: before anything is timed, and timed."""

    warmup: int = 5
    runs: int = 50

    @property
    def total(self) -> int:
        return self.warmup + self.runs


@dataclass(frozen=True)
class Feed:
    """What a model runs on.

    Attributes:
        tensor: of pictures, as the model takes it.
        parameters: by the name of the input, where the model takes any.
        before: called before each run, outside of what is timed.
    """

    tensor: np.ndarray
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None

    def run(self, backend: Any) -> None:
        """Runs the model once."""
        if self.parameters:
            backend.give(self.parameters)
        backend.infer(self.tensor)


@dataclass(frozen=True)
class LayerRuns:
    """One layer, as the runtime runs it.

    Attributes:
        name: that the runtime gives it.
        operator: in the runtime's words, such as "QLinearConv" or "Convolution".
        precision: of the numbers that it reads: "fp32", "fp16", "bf16", "int8" or another type; None where unknown.
        samples_ms: its time in each timed run.
        nodes: names of the graph's nodes that it computes, as far as they are known.
        fused: operators of the graph that it computes in one, each once, where these are several nodes.
    """

    name: str
    operator: str
    precision: str | None
    samples_ms: Sequence[float]
    nodes: tuple[str, ...] = ()
    fused: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerTimings:
    """All layers of a model in the order in which they run.

    Attributes:
        runs_ms: each timed run as a whole, with the profiler on.
        folded: operator to how many nodes of the graph are in no layer: computed when the model was opened, or without
            work of their own.
        remarks: what to know of how the times were taken.
    """

    layers: Sequence[LayerRuns]
    runs_ms: Sequence[float]
    folded: Mapping[str, int] = field(default_factory=Counter)
    remarks: tuple[str, ...] = ()


def precision_of(word: str | None) -> str | None:
    """Returns the precision for a library's name of a type, whatever its case."""
    return PRECISIONS.get(word.lower(), word.lower()) if word else None
