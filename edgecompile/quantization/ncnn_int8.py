"""INT8 as ncnn reads it: symmetric, convolutions only, written into ncnn's own two files.

ncnn's tools for this (ncnn2table, ncnn2int8) are in no package that can be installed; ncnn documents the form of the
files (docs/how-to-use-and-FAQ/quantized-int8-inference.md of Tencent/ncnn): int8 = round(scale * value), with one scale
for what a convolution reads and one for the weights of each output channel. Sums are of whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.errors import StepError
from edgecompile.plan.facts import CalibrationFacts, GraphFacts

if TYPE_CHECKING:
    from edgecompile.graphs.ncnn.param_file import Layer

LARGEST = 127
"""Largest INT8 value that is used: -128 is not, so that zero is in the middle."""
TERM = "1"
"""Value of the parameter `int8_scale_term`: scales of weights, then one of the input; outputs are float."""


def calibrate(
    out: Path, *, model: Path, spec: Path, pictures: list[Path], method: str, percentile: float
) -> CalibrationFacts:
    """Writes `ranges.json`: for each convolution, the largest absolute value that it reads.

    Args:
        model: folder of a float model.
        method: "minmax" for the largest of all, "percentile" for the largest, over the pictures, of what `percentile`
            percent of a picture's values stay below.
    """
    import ncnn
    import numpy as np

    from edgecompile.graphs.ncnn import BIN, PARAM
    from edgecompile.graphs.ncnn.param_file import CONVOLUTIONS, read_layers
    from edgecompile.quantization.calibration_batches import input_reader
    from edgecompile.runtime.backends.ncnn import DEFAULTS

    layers = read_layers((model / PARAM).read_text(encoding="utf-8"))
    reads = {layer.name: layer.inputs[0] for layer in layers if layer.kind in CONVOLUTIONS}
    net = ncnn.Net()
    for key, value in {**DEFAULTS, "num_threads": 1, "lightmode": False}.items():  # light would drop what was read
        setattr(net.opt, key, value)
    net.load_param(str(model / PARAM))
    net.load_model(str(model / BIN))
    read_picture = input_reader(spec)
    ranges = dict.fromkeys(reads, 0.0)
    for path in pictures:
        extractor = net.create_extractor()
        extractor.input(net.input_names()[0], ncnn.Mat(read_picture(path)[0]))
        for name, blob in reads.items():
            values = np.abs(np.array(extractor.extract(blob)[1]))
            largest = values.max() if method == "minmax" else np.percentile(values, percentile)
            ranges[name] = max(ranges[name], float(largest))
    (out / "ranges.json").write_text(json.dumps(ranges, indent=1, sort_keys=True), encoding="utf-8")
    return {"pictures": len(pictures), "tensors": len(ranges), "method": method}


def quantize(
    out: Path,
    *,
    model: Path,
    ranges: Path,
    per_channel: bool,
    exclude: str | list[str],
    source: Path | None = None,
    keep_float: Sequence[str] = (),
) -> GraphFacts:
    """Writes the INT8 `model.param` and `model.bin`.

    Args:
        model: folder of a float model.
        ranges: what `calibrate` wrote.
        per_channel: whether each output channel of a weight has a scale of its own.
        exclude: "auto" or patterns of names of layers, see `edgecompile.quantization.exclusion`.
        source: the ONNX model that it was converted from; needed for `keep_float`.
        keep_float: what else stays in float, by the names that it has in `source`.

    Raises:
        StepError: a pattern matches no layer, or an entry no node; a layer's weights are not known, or not found.
    """
    from dataclasses import replace

    from edgecompile.graphs.ncnn import BIN, PARAM
    from edgecompile.graphs.ncnn.param_file import CONVOLUTIONS, SCALES, read_layers, unfit, weights, write_layers
    from edgecompile.quantization.exclusion import excluded

    largest = json.loads(ranges.read_text(encoding="utf-8"))
    layers = read_layers((model / PARAM).read_text(encoding="utf-8"))
    in_float = set(excluded(exclude, [layer.name for layer in layers], lambda: unfit(layers)))
    if source is not None and keep_float:
        in_float |= layers_of_nodes(source, keep_float, weights(layers, (model / BIN).read_bytes()))
    written, content, count = [], bytearray(), 0
    for layer, flagged, plain in weights(layers, (model / BIN).read_bytes()):
        if layer.kind in CONVOLUTIONS and layer.name not in in_float:
            content += _int8(layer, flagged, plain, largest[layer.name], per_channel)
            layer = replace(layer, params={**layer.params, SCALES: TERM})
            count += 1
        else:
            content += (b"\0\0\0\0" if len(flagged) else b"") + flagged + plain
        written.append(layer)
    (out / PARAM).write_text(write_layers(written), encoding="utf-8")
    (out / BIN).write_bytes(content)
    convolutions = sum(layer.kind in CONVOLUTIONS for layer in layers)
    return {
        "changes": [f"{count} of {convolutions} convolutions in INT8, {len(in_float)} layers left in float"],
        "excluded": sorted(in_float),
    }


def layers_of_nodes(
    source: Path, keep_float: Sequence[str], weights: Iterable[tuple[Layer, memoryview, memoryview]]
) -> set[str]:
    """Returns the names of the convolutions that pnnx made of what `keep_float` names in an ONNX file. pnnx keeps no
    names of nodes: a convolution is known by its weights.

    Raises:
        StepError: a convolution that is to stay in float is not found.
    """
    import numpy as np

    from edgecompile.graphs.ncnn.param_file import CONVOLUTIONS
    from edgecompile.graphs.onnx.serialization import load
    from edgecompile.graphs.onnx.structure import Structure, name_nodes
    from edgecompile.quantization.exclusion import kept_in_float

    graph = load(source)
    name_nodes(graph.graph.node)
    structure = Structure(graph)
    kept = set(kept_in_float(keep_float, (node.name for node in structure.nodes)))
    layer_of = {bytes(flagged): layer.name for layer, flagged, _ in weights if layer.kind in CONVOLUTIONS}
    found = {}
    for node in structure.nodes:
        if node.name in kept and node.op_type == "Conv" and structure.is_learned(node):
            content = np.ascontiguousarray(structure.value(node.input[1]), "<f4").tobytes()
            found[node.name] = layer_of.get(content, "")
    if missing := [name for name, layer in found.items() if not layer]:
        raise StepError(f"keep_float: '{missing[0]}' is not found among ncnn's layers, by its weights")
    return set(found.values())


def _int8(layer: Any, flagged: memoryview, plain: memoryview, largest: float, per_channel: bool) -> bytes:
    """Returns the bytes of a convolution in INT8: flag, weights, bias, scales of the weights, scale of the input."""
    import numpy as np

    from edgecompile.graphs.ncnn.param_file import INT8, scale_rows

    values = np.frombuffer(flagged, "<f4")
    rows = scale_rows(layer)
    by_row = np.abs(values.reshape(rows, -1)).max(axis=1)
    reach = by_row if per_channel else np.full_like(by_row, by_row.max())
    scales = (LARGEST / np.where(reach > 0, reach, LARGEST)).astype("<f4")
    whole = np.clip(np.rint(values.reshape(rows, -1) * scales[:, None]), -LARGEST, LARGEST).astype(np.int8).tobytes()
    padded = whole + b"\0" * (-len(whole) % 4)
    entry = np.array([LARGEST / largest if largest > 0 else 1.0], "<f4")
    return INT8.to_bytes(4, "little") + padded + bytes(plain) + scales.tobytes() + entry.tobytes()
