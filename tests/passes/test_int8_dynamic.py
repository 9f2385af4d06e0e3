"""Dynamic INT8: refused for convolution nets, in the plan where it can be known and else in the step."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from exported import graph_for, simplified

from edgecompile.errors import PlanError, StepError
from edgecompile.passes.int8_dynamic import Int8Dynamic, quantize
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output

FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))
FIELDS = {"per_channel": True, "convolution_share": 0.2}


def planned(weights, *, can=True):
    graph = graph_for(SimpleNamespace(dynamic_int8=can, kind="some"), weights=weights)
    graph.steps["simplify"] = None
    return Int8Dynamic().lower(graph, FLOAT)


def test_checkpoints_and_unable_targets_are_refused_in_the_plan():
    with pytest.raises(PlanError, match=r"convolution net.*int8_static"):
        planned("yolo11n.pt")
    with pytest.raises(PlanError, match="no dynamic INT8"):
        planned("model.onnx", can=False)
    assert planned("model.onnx").precision == "int8"


@pytest.mark.slow
def test_a_convolution_net_in_onnx_is_refused_by_the_step(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(StepError, match="% of the weights are in convolutions"):
        quantize(tmp_path, model=simplified().model, **FIELDS)
    assert not list(tmp_path.iterdir())


def test_a_net_of_matrix_products_is_quantized(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import helper, numpy_helper

    from edgecompile.graphs.onnx.agreement import run

    noise = np.random.default_rng(0)
    weights = [noise.normal(size=(64, 64)).astype(np.float32) / 8 for _ in range(2)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("MatMul", ["b", "w1"], ["y"], name="second"),
    ]
    info = [helper.make_tensor_value_info(name, 1, [4, 64]) for name in "xy"]
    tensors = [numpy_helper.from_array(value, f"w{index}") for index, value in enumerate(weights)]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "float.onnx")
    (tmp_path / "out").mkdir()
    facts = quantize(tmp_path / "out", model=tmp_path / "float.onnx", **FIELDS)
    assert facts["changes"] == ["2 matrix products in INT8"]
    x = noise.normal(size=(4, 64)).astype(np.float32)
    expected = np.maximum(x @ weights[0], 0) @ weights[1]
    found = run((tmp_path / "out" / "model.onnx").read_bytes(), x)[0]
    assert 0 < np.abs(found - expected).max() < 0.1
