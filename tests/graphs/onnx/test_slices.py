"""Rows that are cut into pieces and gathered, as NMS-free heads do, compute the same in OpenVINO as in ONNX Runtime."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import Net

from edgecompile.graphs.onnx.slices import merge_gathered_slices

ROWS, KEPT = 50, 10


def cut_rows(*bounds: int, gathered: bool = True) -> onnx.ModelProto:
    """Returns a graph that cuts rows (1, 50, 12) at bounds, and puts out the best rows of the first piece."""
    net = Net()
    pixels = net.node("Reshape", "images", net.constant(np.array([1, -1, 12], np.int64)))
    rows = net.node("Slice", pixels, *(net.constant(np.array([value], np.int64)) for value in (0, ROWS, 1)))
    pieces = [
        net.node("Slice", rows, *(net.constant(np.array([value], np.int64)) for value in (begin, end, -1)))
        for begin, end in pairwise(bounds)
    ]
    best = net.node("ReduceMax", pieces[1], net.constant(np.array([-1], np.int64)), keepdims=0)
    net.nodes.append(
        onnx.helper.make_node("TopK", [best, net.constant(np.array([KEPT], np.int64))], ["values", "places"], axis=1)
    )
    index = net.node("Unsqueeze", "places", net.constant(np.array([-1], np.int64)))
    wide = net.node("Expand", index, net.constant(np.array([1, KEPT, bounds[1] - bounds[0]], np.int64)))
    if gathered:
        return net.model(net.node("GatherElements", pieces[0], wide, axis=1), KEPT, bounds[1] - bounds[0])
    return net.model(pieces[0], ROWS, bounds[1] - bounds[0])


def run(model: onnx.ModelProto) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": picture(model)})[0]


def picture(model: onnx.ModelProto) -> np.ndarray:
    shape = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(0).random(shape, np.float32)


def test_pieces_become_one_split() -> None:
    model = cut_rows(0, 4, 7, 12)
    before = run(model)
    assert merge_gathered_slices(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node].count("Split") == 1
    np.testing.assert_array_equal(run(model), before)


@pytest.mark.parametrize(
    "model",
    [cut_rows(0, 4, 7), cut_rows(1, 4, 7, 12), cut_rows(0, 4, 7, 12, gathered=False)],
    ids=["no end", "no beginning", "nothing gathered"],
)
def test_other_slices_stay(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    assert merge_gathered_slices(model) == 0
    assert model.SerializeToString() == before


@pytest.mark.slow
def test_openvino_computes_what_onnx_runtime_does(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    from edgecompile.graphs.openvino.conversion import from_onnx

    model = cut_rows(0, 4, 7, 12)
    onnx.save(model, tmp_path / "model.onnx")
    core = openvino.Core()
    compiled = core.compile_model(from_onnx(tmp_path / "model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(picture(model))[0], run(model), atol=1e-6)
    # Negative control: where a version of OpenVINO reads the graph as it is, the rewriting can go.
    with pytest.raises(RuntimeError, match="not consistent"):
        core.compile_model(core.read_model(tmp_path / "model.onnx"), "CPU")
