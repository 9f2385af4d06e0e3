"""What `simplify` changes, what it says, and that it may not change what the model computes."""

from __future__ import annotations

import numpy as np
import pytest
from exported import exported, graph_for, simplified

from edgecompile.errors import PlanError, StepError
from edgecompile.passes.simplify import OPTIMIZATIONS, Simplify, simplify
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxslim")


def planned(**fields):
    graph = graph_for(None)
    graph.steps["onnx_export"] = None
    float_model = Model(Output("onnx_export", "model.onnx"), Output("onnx_export", "spec.json"))
    return graph, Simplify(**fields).lower(graph, float_model)


def test_plan_reads_the_export_and_keeps_its_spec():
    graph, model = planned(operator_fusion=False)
    assert model.artifact == Output("simplify", "model.onnx")
    assert model.spec == Output("onnx_export", "spec.json")
    assert graph.steps["simplify"].params["optimizations"] == ["constant_folding", "dead_code_elimination"]


def test_nothing_to_do_and_nothing_to_work_on_are_errors():
    with pytest.raises(ValueError, match="leave the pass out"):
        Simplify(constant_folding=False, operator_fusion=False, dead_code_elimination=False)
    with pytest.raises(PlanError, match="after the export"):
        Simplify().lower(graph_for(None), None)


def test_a_pass_that_did_nothing_says_why():
    facts = simplified().facts
    assert "0 of 88 convolutions fused with their batch normalisation: no BatchNormalization left" in facts["changes"]
    assert facts["operators"]["after"].get("Constant", 0) == 0
    folded = next(line for line in facts["changes"] if line.startswith("constant folding"))
    assert f"-{facts['operators']['before']['Constant']} Constant" in folded
    assert facts["max_abs_diff"]["boxes"] < 0.02


def with_batch_normalisation():
    """Returns a small graph: convolution, batch normalisation, sum with itself by two equal nodes."""
    from onnx import helper, numpy_helper

    noise = np.random.default_rng(0)
    weights = {
        "w": noise.normal(size=(7, 3, 3, 3)),
        "scale": noise.uniform(0.5, 2, 7),
        "bias": noise.normal(size=7),
        "mean": noise.normal(size=7),
        "var": noise.uniform(0.5, 2, 7),
        "shape": np.array([1, 7, -1]),
    }
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "scale", "bias", "mean", "var"], ["b"], name="norm"),
        helper.make_node("Reshape", ["b", "shape"], ["output0"], name="flat"),
    ]
    tensors = [
        numpy_helper.from_array(v.astype(np.int64 if name == "shape" else np.float32), name)
        for name, v in weights.items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", 1, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output0", 1, [1, 7, 1024])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture
def small(tmp_path):
    from edgecompile.evaluate.tasks import OutputFacts
    from edgecompile.graphs.onnx.model_spec import spec_of, write_spec

    onnx.save(with_batch_normalisation(), tmp_path / "model.onnx")
    spec = spec_of(
        task="detect", names=["a", "b", "c"], stride=32, size=[32, 32], input_name="images",
        input_shape=[1, 3, 32, 32], outputs=[OutputFacts("output0", (1, 7, 1024))], decode="yolo",
    )  # fmt: skip
    write_spec(spec, tmp_path / "spec.json")
    (tmp_path / "out").mkdir()
    return tmp_path


def run(folder, optimizations=tuple(OPTIMIZATIONS)):
    return simplify(
        folder / "out", model=folder / "model.onnx", spec=folder / "spec.json", optimizations=list(optimizations)
    )


def test_batch_normalisation_is_fused_and_counted(small):
    facts = run(small)
    assert "1 of 1 convolutions fused with their batch normalisation" in facts["changes"]
    assert facts["operators"]["after"] == {"Conv": 1, "Reshape": 1}


def test_only_what_was_asked_for_is_done(small):
    facts = run(small, ["constant_folding"])
    assert facts["operators"]["after"] == facts["operators"]["before"]
    assert facts["changes"] == ["constant folding: nothing matched"]


def test_a_changed_result_is_refused(small, monkeypatch):
    """The guard sees a simplifier that errs: one weight of the graph is touched behind its back."""
    import onnxslim
    from onnx import numpy_helper

    def errs(graph, **_):
        weight = next(tensor for tensor in graph.graph.initializer if tensor.name == "w")
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.1, "w"))
        return graph

    monkeypatch.setattr(onnxslim, "slim", errs)
    with pytest.raises(StepError, match="simplifying the graph changed what the model computes"):
        run(small)


def test_simplified_sample_is_smaller_in_operators_only():
    before, after = onnx.load(exported().model), onnx.load(simplified().model)
    assert len(after.graph.node) < len(before.graph.node)
    assert not after.metadata_props
