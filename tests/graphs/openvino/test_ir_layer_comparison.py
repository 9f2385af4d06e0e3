"""Which layer of an OpenVINO IR leaves the float model in ONNX first."""

from __future__ import annotations

from pathlib import Path

import onnx
import openvino
import pytest

from edgecompile.errors import StepError
from edgecompile.graphs.openvino.canonical_names import BIN, XML, save
from edgecompile.graphs.openvino.ir_layer_comparison import layer_distances
from edgecompile.layer_diagnosis import LEAVES

from ..onnx.test_layer_comparison import LAYERS, PICTURE, net


def distances(artifact: onnx.ModelProto, folder: Path) -> dict[str, float]:
    onnx.save(artifact, folder / "model.onnx")
    save(openvino.convert_model(folder / "model.onnx"), folder)
    xml, weights = (folder / XML).read_bytes(), (folder / BIN).read_bytes()
    return {one.layer: one.error for one in layer_distances(xml, weights, net(), PICTURE, PICTURE)}


@pytest.mark.parametrize("spoiled", range(LAYERS))
def test_the_first_layer_that_leaves_is_the_spoiled_one(spoiled: int, tmp_path: Path):
    errors = distances(net(spoiled), tmp_path)
    assert list(errors) == [f"layer{number}" for number in range(LAYERS)]
    assert next(name for name, error in errors.items() if error > LEAVES) == f"layer{spoiled}"


def test_equal_layers_do_not_leave(tmp_path: Path):
    assert max(distances(net(), tmp_path).values()) < 1e-4


def test_graphs_without_a_layer_in_common_are_refused(tmp_path: Path):
    with pytest.raises(StepError, match="no layer of the same name"):
        distances(net(names="other"), tmp_path)
