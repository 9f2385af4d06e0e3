"""Times of the layers of an engine of TensorRT or TensorRT-RTX, by its `IProfiler`.

Untested on hardware: there was no NVIDIA GPU. Sources: TensorRT 10 Python API, `IProfiler` and
`IExecutionContext.profiler` (a run with `enqueue_emits_profile`, the default, reports once it has ended); names of
layers as trtexec prints them.
"""

from __future__ import annotations

import re
import time
from types import ModuleType
from typing import Any

from edgecompile.runtime.layer_timings import Feed, LayerRuns, LayerTimings, Rounds
from edgecompile.runtime.nvidia.session import Session

WORD = re.compile(r"[^\s+(),\[\]{}]+")
REFORMAT, MANY = "Reformatting CopyNode", "ForeignNode"
"""Beginnings of the names of layers that change a layout, and of those that hold a whole part of the graph."""
NUMBERED = re.compile(r"_\d+$")
REMARK = "TensorRT names layers after the nodes they are made of; it does not tell in which precision they compute"


def time_layers(trt: ModuleType, session: Session, feed: Feed, rounds: Rounds) -> LayerTimings:
    """Runs an engine with a profiler and returns its layers in the order in which they are reported."""
    recorder = _recorder(trt)
    session.report_layers(recorder)
    whole: list[float] = []
    samples: list[dict[str, float]] = []
    for _ in range(rounds.total):
        feed.before()
        recorder.times = {}
        began = time.perf_counter()
        session.infer(feed.tensor)
        whole.append(1e3 * (time.perf_counter() - began))
        samples.append(recorder.times)
    timed = samples[rounds.warmup :]
    names = dict.fromkeys(name for run in timed for name in run)
    layers = [_layer(name, [run.get(name, 0.0) for run in timed]) for name in names]
    return LayerTimings(layers, whole[rounds.warmup :], remarks=(REMARK,))


def _recorder(trt: ModuleType) -> Any:
    """Returns a profiler that adds up the milliseconds of each layer in `times`."""

    class Recorder(trt.IProfiler):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times[layer_name] = self.times.get(layer_name, 0.0) + ms

    return Recorder()


def _layer(name: str, times: list[float]) -> LayerRuns:
    nodes = tuple(dict.fromkeys(word for word in WORD.findall(name) if word.startswith("/")))
    operators = tuple(dict.fromkeys(map(_operator, nodes)))
    if name.startswith(REFORMAT):
        return LayerRuns(name, "Reformat", None, times)
    if MANY in name or not nodes:
        return LayerRuns(name, MANY if MANY in name else _operator(name), None, times)
    return LayerRuns(name, operators[-1], None, times, nodes, operators if len(nodes) > 1 else ())


def _operator(node: str) -> str:
    """Returns the operator that the name of a node ends in, as exporters name nodes: "/model.0/conv/Conv"."""
    return NUMBERED.sub("", node.rpartition("/")[2])
