"""The layers with weights of an ncnn model: in which precision each is stored, and how much it multiplies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from edgecompile.evaluate.layer_coverage import Layer
from edgecompile.graphs.ncnn import BIN, PARAM
from edgecompile.graphs.ncnn.param_file import (
    DECONVOLUTIONS,
    FLOAT16,
    FLOAT32,
    INT8,
    PRODUCT,
    means,
    read_layers,
    stored_as,
    weight_sizes,
)  # fmt: skip
from edgecompile.graphs.ncnn.param_file import Layer as NcnnLayer

PRECISIONS = {FLOAT32: "fp32", FLOAT16: "fp16", INT8: "int8"}


def layers(artifact: Path, shape: Sequence[int]) -> list[Layer]:
    """Returns the layers with weights of a model, in its order.

    Args:
        artifact: folder of the model.
        shape: of its input.
    """
    read = read_layers((artifact / PARAM).read_text(encoding="utf-8"))
    fixed = set(means(read))
    stored = [
        (layer, flag) for layer, flag in stored_as(read, (artifact / BIN).read_bytes()) if layer.name not in fixed
    ]
    blobs = {layer.name: (layer.inputs if layer.kind in DECONVOLUTIONS else layer.outputs)[0] for layer, _ in stored}
    shapes = _shapes(artifact, shape, set(blobs.values()))
    return [
        Layer(
            layer.name,
            PRECISIONS.get(flag, "unknown"),
            _places(layer, shapes[blobs[layer.name]]) * weight_sizes(layer)[0],
        )
        for layer, flag in stored
    ]


def _places(layer: NcnnLayer, shape: tuple[int, ...]) -> int:
    """Returns how often each weight of a layer is used, by the shape of what it puts out or reads: (channels, height,
    width), or (rows, features) of a product."""
    return math.prod(shape[:-1] if layer.kind == PRODUCT else shape[1:])


def _shapes(artifact: Path, shape: Sequence[int], blobs: set[str]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of blobs for one picture."""
    import ncnn
    import numpy as np

    from edgecompile.runtime.backends.ncnn import DEFAULTS

    net = ncnn.Net()
    for key, value in {**DEFAULTS, "num_threads": 1, "lightmode": False}.items():  # light would drop what was read
        setattr(net.opt, key, value)
    net.load_param(str(artifact / PARAM))
    net.load_model(str(artifact / BIN))
    extractor = net.create_extractor()
    picture = np.zeros(shape[1:], np.float32)
    extractor.input(net.input_names()[0], ncnn.Mat(picture))
    return {blob: np.array(extractor.extract(blob)[1]).shape for blob in sorted(blobs)}
