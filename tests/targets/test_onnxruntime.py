"""ONNX Runtime as a target: what it wants of a quantized graph, and what it warns of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from exported import graph_for

from edgecompile.passes.int8_static import Int8Static
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.targets.onnxruntime import OnnxRuntime

CONF = Path(__file__).parents[2] / "conf" / "target"
WRITTEN = sorted(path for path in CONF.glob("*.yaml") if "kind: onnxruntime" in path.read_text())


def a_cpu(**fields):
    return OnnxRuntime(**{"device": "a CPU", "memory_mb": 1024, **fields})


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_written_targets_are_valid_and_say_where_they_come_from(path):
    target = OnnxRuntime(**yaml.safe_load(path.read_text()))
    assert target.source
    assert target.isa
    assert bool(target.warnings("int8")) is (target.arch == "aarch64" and "asimddp" not in target.isa)


def test_weights_keep_a_bit_free_only_where_sums_would_overflow():
    settings = Int8Static()
    assert not a_cpu(isa=("avx2", "avx512_vnni")).placement(settings)["reduce_range"]
    assert not a_cpu(isa=("avx2", "avx_vnni")).placement(settings)["reduce_range"]
    assert a_cpu(isa=("avx2",)).placement(settings)["reduce_range"]
    assert not a_cpu(arch="aarch64", isa=("asimd",)).placement(settings)["reduce_range"]


def test_activations_are_unsigned_unless_asked_for():
    assert a_cpu().placement(Int8Static())["activations"] == "uint8"
    assert a_cpu(arch="aarch64").placement(Int8Static())["activations"] == "uint8"
    symmetric = a_cpu().placement(Int8Static(symmetric=True))
    assert (symmetric["activations"], symmetric["symmetric"]) == ("int8", True)


def test_a_precision_that_will_not_help_is_said():
    assert "neither AVX2 nor VNNI" in a_cpu(isa=("sse4_2",)).warnings("int8")[0]
    assert not a_cpu(isa=("avx2",)).warnings("int8")
    assert "slower than float" in a_cpu(isa=("avx512_vnni",)).warnings("fp16")[0]
    assert not a_cpu(isa=("avx512_vnni",)).warnings("fp32")


def test_the_artifact_takes_bytes():
    graph = graph_for(a_cpu())
    graph.steps.update(simplify=None, onnx_export=None)
    model = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))
    compiled = a_cpu().compile(graph, model)
    assert compiled == Model(Output("compile", "model.onnx"), Output("compile", "spec.json"))
    assert a_cpu().dynamic_int8
    assert a_cpu().fp16_in_graph
