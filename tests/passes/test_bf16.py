"""bfloat16: refused where a CPU lacks it, stored as it says, judged by a graph that rounds."""

from __future__ import annotations

import numpy as np
import pytest
from exported import simplified

from edgecompile.errors import PlanError
from edgecompile.passes.bf16 import Bf16
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.runtime.backends import find_backend
from edgecompile.targets.openvino import OpenVino

FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"), "onnx", "fp32")


def a_cpu(**fields) -> OpenVino:
    return OpenVino(**{"device": "a CPU", "memory_mb": 1, **fields})


def test_it_takes_a_cpu_that_has_it():
    with pytest.raises(ValueError, match="avx512_bf16"):
        a_cpu(precisions=("bf16",), isa=("avx2",))
    with pytest.raises(ValueError, match="takes a CPU"):
        a_cpu(precisions=("bf16",), isa=("avx512_bf16",), device_name="GPU")
    target = a_cpu(precisions=("fp32", "bf16"), isa=("avx512_bf16",))
    assert target.options()["INFERENCE_PRECISION_HINT"] == "f32"
    assert target.options_for("int8") == target.options()
    assert target.options_for("bf16")["INFERENCE_PRECISION_HINT"] == "bf16"


def test_it_works_on_float_only():
    assert Bf16().lower(None, FLOAT).precision == "bf16"  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="alone of its kind"):
        Bf16().lower(None, FLOAT.with_(precision="int8"))  # type: ignore[arg-type]


def test_a_recipe_for_a_cpu_without_it_ends_in_the_plan(run):
    done = run("plan", "recipe=x86-cpu-bf16_openvino_bf16", "target=x86-cpu_openvino", "model=sample", "data=sample")
    assert done.code in (2, 3)
    assert "'bf16' makes bf16, which x86-64 CPU (openvino) does not run" in done.err


def test_a_cpu_without_it_is_told():
    remark = find_backend("openvino").remark  # type: ignore[attr-defined]
    assert "in float" in remark({"INFERENCE_PRECISION_HINT": "bf16"}, frozenset({"avx2"}))
    assert not remark({"INFERENCE_PRECISION_HINT": "bf16"}, frozenset({"avx512_bf16"}))
    assert not remark({"INFERENCE_PRECISION_HINT": "f32"}, frozenset({"avx2"}))


def test_the_graph_that_judges_rounds_up_to_the_last_layer():
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from edgecompile.graphs.onnx.agreement import fixed_input, run
    from edgecompile.graphs.onnx.bf16_simulation import round_to_bfloat

    exact = onnx.load(simplified().model)
    rounded = onnx.load(simplified().model)
    assert round_to_bfloat(rounded) > 80
    picture = fixed_input([1, 3, 192, 256], [192, 256])
    one, other = (run(model.SerializeToString(), picture)[0] for model in (exact, rounded))
    gap = np.abs(one - other)
    assert 0 < gap[:, 4:].max() < 0.05
    assert gap[:, :4].max() < 4.0
    assert len(np.unique(other[:, :2])) > 256  # boxes are not: that many numbers of one size bfloat16 has not
