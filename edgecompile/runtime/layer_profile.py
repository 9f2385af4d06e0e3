"""`LayerProfile`: where the time of an artifact goes on one machine, layer by layer, as its runtime runs it.

Runtimes fuse, fold and convert: their layers are not the nodes of the graph. A profile names the nodes of each layer
where the runtime, or the names that it gives, tell them. `edgecompile.runtime.layer_times` takes profiles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict, cast


class LayerTimeDocument(TypedDict):
    """`LayerTime` as JSON."""

    name: str
    operator: str
    precision: str | None
    ms: float
    share: float
    nodes: list[str]
    fused: list[str]


class LayerProfileDocument(TypedDict):
    """`LayerProfile` as JSON, in the output of `bench --layers` and in reports."""

    backend: str
    threads: int
    runs: int
    inference_ms: float | None
    profiled_ms: float | None
    layers: list[LayerTimeDocument]
    folded: dict[str, int]
    remarks: list[str]
    unknown: str


@dataclass(frozen=True)
class LayerTime:
    """What one layer costs.

    Attributes:
        name: that the runtime gives it.
        operator: in the runtime's words.
        precision: of the numbers that it reads: "fp32", "fp16", "bf16", "int8" or another type; None where unknown.
        ms: median of the runs, milliseconds.
        share: of the sum over all layers, 0..1.
        nodes: names of the graph's nodes that it computes, as far as they are known.
        fused: operators of the graph that it computes in one, each once, where these are several nodes.
    """

    name: str
    operator: str
    precision: str | None
    ms: float
    share: float
    nodes: tuple[str, ...] = ()
    fused: tuple[str, ...] = ()


@dataclass(frozen=True)
class OperatorTime:
    """What all layers of one operator in one precision cost: how many, milliseconds, and the share of all layers."""

    operator: str
    precision: str | None
    layers: int
    ms: float
    share: float


@dataclass(frozen=True)
class LayerProfile:
    """Where the time of an artifact goes on one machine.

    Attributes:
        backend: name and version of the library.
        threads: that it used.
        runs: how many runs the medians are of.
        inference_ms: median of a run without the profiler, which costs time itself; None where nothing ran.
        profiled_ms: median of a run with the profiler.
        layers: in the order in which they run; empty where the backend does not tell them.
        folded: operator to how many nodes of the graph are in no layer: computed when the model was opened, or without
            work of their own.
        remarks: what to know of how the times were taken.
        unknown: why there are no layers; "" where there are.
    """

    backend: str
    threads: int
    runs: int = 0
    inference_ms: float | None = None
    profiled_ms: float | None = None
    layers: tuple[LayerTime, ...] = ()
    folded: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    unknown: str = ""

    @property
    def layers_ms(self) -> float:
        """The sum of the layers' medians, milliseconds."""
        return sum(layer.ms for layer in self.layers)

    def slowest(self, count: int) -> list[LayerTime]:
        """Returns the layers that cost most, the slowest first."""
        return sorted(self.layers, key=lambda layer: -layer.ms)[:count]

    def by_operator(self) -> list[OperatorTime]:
        """Returns the times by operator and precision, the slowest first."""
        groups: dict[tuple[str, str | None], list[LayerTime]] = {}
        for layer in self.layers:
            groups.setdefault((layer.operator, layer.precision), []).append(layer)
        times = [
            OperatorTime(*key, len(group), sum(layer.ms for layer in group), sum(layer.share for layer in group))
            for key, group in groups.items()
        ]
        return sorted(times, key=lambda one: -one.ms)

    def fusions(self) -> list[tuple[str, tuple[str, ...], int]]:
        """Returns (operator of the layer, operators of the graph that it computes in one, how many such layers), the
        most frequent first."""
        counts = Counter((layer.operator, layer.fused) for layer in self.layers if layer.fused)
        return [(*key, count) for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]

    def ms_of(self, nodes: Collection[str]) -> float:
        """Returns what the layers cost that compute any of these nodes of the graph, milliseconds."""
        wanted = frozenset(nodes)
        return sum(layer.ms for layer in self.layers if wanted.intersection(layer.nodes))

    def to_json(self) -> LayerProfileDocument:
        """Returns the profile as plain JSON."""
        layers = [{**asdict(one), "nodes": list(one.nodes), "fused": list(one.fused)} for one in self.layers]
        plain = {**asdict(self), "layers": layers, "folded": dict(self.folded), "remarks": list(self.remarks)}
        return cast("LayerProfileDocument", plain)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LayerProfile:
        """Returns the profile that `to_json` wrote.

        Raises:
            KeyError, TypeError: it is none.
        """
        layers = tuple(
            LayerTime(**{**one, "nodes": tuple(one["nodes"]), "fused": tuple(one["fused"])})
            for one in document["layers"]
        )
        return cls(**{**document, "layers": layers, "remarks": tuple(document["remarks"])})
