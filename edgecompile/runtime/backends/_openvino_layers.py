"""Times of layers out of OpenVINO's performance counters, and what each is made of out of its runtime model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edgecompile.runtime.layer_timings import LayerRuns, LayerTimings, precision_of
from edgecompile.runtime.openvino_ir import MADE_UP_NAME

SUFFIXES = ("/WithoutBiases", "/fq_output_0", "/fq_input_0", "/fq_weights_0", "/fq_weights_1")
"""What converter and quantizer put behind the name of a node for an operation that they add to it."""
NO_WORK = ("Parameter", "Result", "Input", "Output", "Const", "Constant")
ONE_MICROSECOND = "OpenVINO counts whole microseconds"


class Counters:
    """The counters of several runs.

    Args:
        compiled: the compiled model; its property PERF_COUNT is set.
        executed: the value of `ProfilingInfo.Status` for what has run.
    """

    def __init__(self, compiled: Any, executed: Any) -> None:
        self._executed = executed
        self._notes = _notes(compiled)
        self._runs: list[dict[str, float]] = []
        self._first: Sequence[Any] = ()

    def add(self, infos: Sequence[Any]) -> None:
        """Adds the counters of one run."""
        self._first = self._first or infos
        times: dict[str, float] = {}
        for info in infos:
            if info.status == self._executed:
                times[info.node_name] = times.get(info.node_name, 0.0) + info.real_time.total_seconds() * 1e3
        self._runs.append(times)

    def timings(self, runs_ms: Sequence[float]) -> LayerTimings:
        """Returns the layers; `runs_ms` are the runs as wholes."""
        kinds = {info.node_name: info.node_type for info in self._first}
        executed = [info for info in self._first if info.status == self._executed]
        layers = [self._layer(info, kinds) for info in {info.node_name: info for info in executed}.values()]
        inside = {name for info in executed for name in [info.node_name, *self._sources(info.node_name)]}
        folded = Counter(
            info.node_type for info in self._first if info.node_name not in inside and info.node_type not in NO_WORK
        )
        return LayerTimings(layers, runs_ms, folded, (ONE_MICROSECOND,))

    def _layer(self, info: Any, kinds: Mapping[str, str]) -> LayerRuns:
        sources = self._sources(info.node_name)
        operators = tuple(kinds[name] for name in sources if name in kinds)
        precision = self._notes.get(info.node_name, {}).get("runtimePrecision") or info.exec_type.rpartition("_")[2]
        return LayerRuns(
            info.node_name,
            info.node_type,
            precision_of(precision),
            [times.get(info.node_name, 0.0) for times in self._runs],
            _nodes(sources),
            tuple(dict.fromkeys(operators)) if len(operators) > 1 else (),
        )

    def _sources(self, layer: str) -> list[str]:
        """Returns the names of the operations that a layer is made of."""
        return [name for name in self._notes.get(layer, {}).get("originalLayersNames", "").split(",") if name]


def _nodes(operations: Sequence[str]) -> tuple[str, ...]:
    """Returns the nodes that operations were made of: their names without what was added, and without made-up names."""
    names = dict.fromkeys(operations)
    for suffix in SUFFIXES:
        names = dict.fromkeys(name.removesuffix(suffix) for name in names)
    return tuple(name for name in names if not MADE_UP_NAME.match(name))


def _notes(compiled: Any) -> dict[str, dict[str, str]]:
    """Returns the notes of the runtime model on each of its operations; none where a plugin has no such model."""
    try:
        operations = compiled.get_runtime_model().get_ordered_ops()
    except RuntimeError:
        return {}
    notes = {}
    for operation in operations:
        info = operation.get_rt_info()
        notes[operation.get_friendly_name()] = {key: _text(info[key]) for key in info}
    return notes


def _text(value: Any) -> str:
    return str(getattr(value, "value", value))
