"""Times of ncnn's layers. Its Python binding has no profiler; but an extractor that keeps its blobs computes, of a blob
that is asked for, only what is not computed yet: asked for the blobs in order, it runs one layer at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from edgecompile.errors import BundleError
from edgecompile.runtime.layer_timings import Feed, LayerRuns, LayerTimings, Rounds

ACTIVATIONS = {"1": "ReLU", "2": "LeakyReLU", "3": "Clip", "4": "Sigmoid", "5": "Mish", "6": "HardSwish"}
"""Values of a layer's parameter 9: the activation that it computes too (`fused_activation.h` of ncnn)."""
ACTIVATION, INT8_SCALES = "9", "8"
WEIGHTED = ("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise", "InnerProduct")
"""Layers that have these two parameters."""
AS_STORED = 1
"""How a blob is handed out: as the layers pass it on, without a conversion."""
REMARK = (
    "ncnn's binding has no profiler: each layer was asked for by itself, and layers that work in place copied their "
    "input first"
)


class Line(NamedTuple):
    """A layer in ncnn's text: what it is, and the blobs that it makes."""

    kind: str
    name: str
    blobs: tuple[str, ...]
    params: Mapping[str, str]


def read_lines(text: str) -> list[Line]:
    """Returns the layers of a text that `edgecompile.runtime.backends.ncnn.check_layers` accepted."""
    lines = []
    for kind, name, inputs, outputs, *words in (line.split() for line in text.splitlines()[2:] if line.strip()):
        begin, end = int(inputs), int(inputs) + int(outputs)
        params = dict(word.split("=", 1) for word in words[end:])
        lines.append(Line(kind, name, tuple(words[begin:end]), params))
    return lines


def time_layers(
    net: Any, picture: Any, entry: str, text: str, float_precision: str, feed: Feed, rounds: Rounds
) -> LayerTimings:
    """Runs a network layer by layer.

    Args:
        net: the opened network.
        picture: its input, as `ncnn.Mat`.
        entry: name of the input.
        text: of its layers.
        float_precision: what layers that are not in INT8 are computed in.
    """
    lines = [line for line in read_lines(text) if line.blobs and line.kind != "Input"]
    samples: list[list[float]] = []
    for _ in range(rounds.total):
        feed.before()
        samples.append(_run(net, picture, entry, lines))
    timed = list(zip(*samples[rounds.warmup :], strict=True))
    layers = [
        LayerRuns(line.name, line.kind, _precision(line, float_precision), times, (), _fused(line))
        for line, times in zip(lines, timed, strict=True)
    ]
    return LayerTimings(layers, [sum(run) for run in samples[rounds.warmup :]], remarks=(REMARK,))


def _run(net: Any, picture: Any, entry: str, lines: list[Line]) -> list[float]:
    """Returns milliseconds of each layer."""
    extractor = net.create_extractor()
    extractor.set_light_mode(False)  # keeps every blob
    extractor.input(entry, picture)
    times = []
    for line in lines:
        began = time.perf_counter()
        codes = [extractor.extract(blob, AS_STORED)[0] for blob in line.blobs]
        times.append(1e3 * (time.perf_counter() - began))
        if any(codes):
            raise BundleError(f"ncnn cannot run the layer {line.name}")
    return times


def _precision(line: Line, float_precision: str) -> str:
    return "int8" if line.kind in WEIGHTED and line.params.get(INT8_SCALES, "0") != "0" else float_precision


def _fused(line: Line) -> tuple[str, ...]:
    activation = ACTIVATIONS.get(line.params.get(ACTIVATION, "0")) if line.kind in WEIGHTED else None
    return (line.kind, activation) if activation else ()
