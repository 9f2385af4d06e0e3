"""FP16 in the graph, and left to a target that stores it so itself."""

from __future__ import annotations

import nets
import numpy as np
import pytest
from exported import graph_for, simplified

from edgecompile.errors import PlanError, StepError
from edgecompile.passes.fp16 import Fp16, convert
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.targets.onnxruntime import OnnxRuntime
from edgecompile.targets.openvino import OpenVino

FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))


def planned(in_graph, **fields):
    kind = OnnxRuntime if in_graph else OpenVino
    graph = graph_for(kind(device="a CPU", memory_mb=1, precisions=("fp16",)))
    graph.steps.update(simplify=None, onnx_export=None)
    return graph, Fp16(**fields).lower(graph, FLOAT)


def test_target_decides_where_fp16_is_written():
    graph, model = planned(True)
    assert model.artifact == Output("fp16", "model.onnx")
    graph, kept = planned(False)
    assert "fp16" not in graph.steps
    assert (kept.artifact, kept.precision) == (FLOAT.artifact, "fp16")
    with pytest.raises(PlanError, match="leave 'keep' empty"):
        planned(False, keep=("Resize",))


def test_it_works_on_float_only():
    with pytest.raises(PlanError, match="alone of its kind"):
        Fp16().lower(graph_for(None), FLOAT.with_(precision="int8"))


def test_converted_sample_is_half_the_size_and_agrees(tmp_path):
    pytest.importorskip("onnxruntime")
    from edgecompile.graphs.onnx.agreement import fixed_input, run

    convert(tmp_path, model=simplified().model, keep=[], beyond=nets.nothing_beyond(tmp_path))
    small, large = (tmp_path / "model.onnx").read_bytes(), simplified().model.read_bytes()
    assert len(small) < 0.6 * len(large)
    picture = fixed_input([1, 3, 192, 256], [192, 256])
    gap = np.abs(run(small, picture)[0] - run(large, picture)[0])
    assert 0 < gap[:, 4:].max() < 0.02
    assert gap[:, :4].max() < 2.0


def test_unknown_operator_to_keep_is_an_error(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(StepError, match="did you mean 'Resize'"):
        convert(tmp_path, model=simplified().model, keep=["Resiz"], beyond=nets.nothing_beyond(tmp_path))
