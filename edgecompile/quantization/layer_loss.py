"""Step: how far each layer of an artifact, ONNX or OpenVINO IR, is from the float model's, on the golden picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.graphs.openvino.canonical_names import BIN, XML
from edgecompile.plan.facts import LayerLoss, LayerLossFacts
from edgecompile.runtime.letterbox import tensor_of
from edgecompile.runtime.pictures import read_picture
from edgecompile.runtime.spec import read_spec

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from edgecompile.graphs.onnx.layer_comparison import LayerDistance

DIGITS = 5


def compare(
    out: Path, *, artifact: Path, spec: Path, reference: Path, reference_spec: Path, golden: Path
) -> LayerLossFacts:
    """Compares the layers with weights that both graphs have, in the order of the artifact.

    Args:
        artifact, reference: file or folder of the graph that ships, and of the float model.
        golden: the folder of the golden vectors.

    Raises:
        StepError: its runtime cannot run a graph layer by layer, or the two have no layer in common.
    """
    pictures = _tensor(spec, golden), _tensor(reference_spec, golden)
    return {
        "layers": [
            LayerLoss(layer=one.layer, precision=one.precision, error=_rounded(one.error), before=_rounded(one.before))
            for one in _distances(artifact, _graph(reference), pictures)
        ]
    }


def _distances(
    artifact: Path, reference: onnx.ModelProto, pictures: tuple[np.ndarray, np.ndarray]
) -> list[LayerDistance]:
    if (artifact / XML).is_file():
        from edgecompile.graphs.openvino import ir_layer_comparison

        xml, weights = (artifact / XML).read_bytes(), (artifact / BIN).read_bytes()
        return ir_layer_comparison.layer_distances(xml, weights, reference, *pictures)
    from edgecompile.graphs.onnx.layer_comparison import layer_distances

    return layer_distances(_graph(artifact), reference, *pictures)


def _rounded(error: float) -> float | None:
    """Returns a number that JSON can hold; None for what is not finite."""
    return round(error, DIGITS) if math.isfinite(error) else None


def _graph(path: Path) -> onnx.ModelProto:
    import onnx

    from edgecompile.runtime.backends import choose_file

    return onnx.load_model_from_string((path if path.is_file() else path / choose_file(path, ".onnx")).read_bytes())


def _tensor(spec: Path, golden: Path) -> np.ndarray:
    about = read_spec(spec)
    return tensor_of(about, read_picture(golden / "input.png", about.input.channels))
