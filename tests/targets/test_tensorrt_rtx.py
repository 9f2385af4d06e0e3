"""RTX PCs by TensorRT-RTX: engines are really built, here, without a GPU; none can be run here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from exported import graph_for, run_code, run_step

from edgecompile.errors import BundleError, PlanError
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.targets.tensorrt_rtx import TensorRtRtx, groups

from .test_tensorrt import typed

pytestmark = pytest.mark.slow

CONF = Path(__file__).parents[2] / "conf" / "target"
WRITTEN = sorted(path for path in CONF.glob("*.yaml") if "kind: tensorrt_rtx\n" in path.read_text())
FLOAT = Model(Output("fp16", "model.onnx"), Output("onnx_export", "spec.json"), precision="fp16")


def a_pc(**fields: Any) -> TensorRtRtx:
    return TensorRtRtx(**{"device": "a PC", "memory_mb": 8192, **fields})


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_written_targets_say_what_was_built_and_that_nothing_was_run(path: Path) -> None:
    target = TensorRtRtx(**yaml.safe_load(path.read_text()))
    assert target.status == "untested"
    assert "none was run" in target.source
    assert target.sm == (75, 86, 89, 120)
    assert target.constraints() == {"sm": ["7.5", "8.6", "8.9", "12.0"], "driver": ">=580"}
    assert target.board.source


def test_turing_has_an_engine_of_its_own() -> None:
    assert groups((120, 75, 86, 89)) == [[75], [86, 89, 120]]
    assert groups((89,)) == [[89]]
    assert groups((75,)) == [[75]]
    assert a_pc().warnings("int8")
    assert not a_pc(sm=(89,)).warnings("int8")


def test_the_artifact_is_the_engines_and_the_onnx_they_are_built_of() -> None:
    graph = graph_for(a_pc())
    graph.steps.update(fp16=None, onnx_export=None)
    model = a_pc().finish(graph, a_pc().compile(graph, FLOAT))
    assert (model.artifact, model.spec) == (Output("engines"), Output("compile", "spec.json"))
    assert a_pc().finalize
    assert a_pc().proxy_backend()[0] == "onnxruntime"
    with pytest.raises(PlanError, match="not in the plan"):
        a_pc().compile(graph_for(a_pc()), FLOAT)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_engines_of_two_processes_are_equal(precision: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    digests = []
    for number in (1, 2):
        out = tmp_path / str(number)
        params = {"groups": [[75], [86, 89, 120]] if precision == "fp16" else [[86, 89, 120]]}
        facts = run_step(out, "edgecompile.targets.tensorrt_rtx:engines", {"artifact": typed(precision).folder}, params)
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()})
        assert all(size > 100_000 for size in facts["engines"].values())
    assert digests[0] == digests[1]
    assert {"model.onnx", "sm86-89-120.engine"} <= set(digests[0])


def test_turing_refuses_float_products_and_takes_fp16() -> None:
    """Why this target runs no float: the negative control of the FP16 build for SM 75 above."""
    pytest.importorskip("tensorrt_rtx_bindings")
    from exported import simplified

    code = """
import json, sys
from edgecompile.errors import BundleError
from edgecompile.runtime.backends.tensorrt_rtx import build_ahead
model, spec = json.loads(sys.stdin.read())
try:
    build_ahead(open(model, "rb").read(), json.load(open(spec)), [75])
except BundleError as error:
    print(error)
"""
    said = run_code(code, text=json.dumps([str(simplified().model), str(simplified().spec)]))
    assert "FP32 GEMM is not supported" in said
    assert "\\n" not in said


def test_shapes_that_change_need_a_profile() -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    onnx = pytest.importorskip("onnx")
    from edgecompile.runtime.backends.tensorrt_rtx import build_ahead

    helper = onnx.helper
    entry = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT16, ["n", 3, 8, 8])
    result = helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT16, ["n", 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Sigmoid", ["images"], ["output0"])], "g", [entry], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    spec: dict[str, Any] = {"input": {"name": "images", "shape": [-1, 3, 8, 8]}}
    with pytest.raises(BundleError, match="no profile"):
        build_ahead(model, spec, [86])
    spec["input"]["profile"] = {"min": [1, 3, 8, 8], "opt": [2, 3, 8, 8], "max": [4, 3, 8, 8]}
    assert len(build_ahead(model, spec, [86])) > 1000


@pytest.mark.parametrize(
    ("decode", "shape", "extras"),
    [("end2end", (1, 300, 6), 0), ("yolo", (1, 7, 500), 0), ("rotated", (1, 8, 500), 1)],
)
def test_it_builds_the_choice_of_rows_and_has_no_suppression(decode: str, shape: tuple[int, ...], extras: int) -> None:
    """`TensorRtRtx.embeds` says no more than its builder does, and no less."""
    pytest.importorskip("tensorrt_rtx_bindings")
    from edgecompile.graphs.onnx.row_choice import RAW, Rows
    from edgecompile.graphs.onnx.suppression import Thresholds, graph_behind
    from edgecompile.runtime.backends.tensorrt_rtx import build_ahead

    model = graph_behind(Rows(decode, shape, 3, extras), Thresholds(0.25, 0.7, 300), 18).SerializeToString()
    spec: Any = {"input": {"name": RAW, "shape": list(shape)}}
    if decode in a_pc().embeds:
        assert build_ahead(model, spec, [86])
    else:
        with pytest.raises(BundleError, match="NonMaxSuppression" if decode == "yolo" else "TopK"):
            build_ahead(model, spec, [86])
