"""ONNX Runtime as a target: what it wants of a quantized graph, and what it warns of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from exported import graph_for
from pydantic import ValidationError

from edgecompile.passes.int8_static import Int8Static
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.backends.onnxruntime import Backend
from edgecompile.runtime.layer_times import layer_times
from edgecompile.runtime.layer_timings import Rounds
from edgecompile.runtime.options import check_options
from edgecompile.targets.onnxruntime import OnnxRuntime

CONF = Path(__file__).parents[2] / "conf" / "target"
INT8_BUNDLE = Path(__file__).parents[1] / "golden" / "schema-1.bundle.zip"
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


def test_session_options_are_stated_where_they_differ_from_the_librarys_choice():
    """So recipes from before they were fields keep the keys of their steps."""
    assert a_cpu().options() == {}
    chosen = a_cpu(graph_level="extended", gelu_approximation=True, spinning=False).options()
    assert chosen == {
        "graph_optimization_level": "ORT_ENABLE_EXTENDED",
        "optimization.enable_gelu_approximation": "1",
        "session.intra_op.allow_spinning": "0",
    }
    assert not list(check_options(Backend.options, chosen))
    with pytest.raises(ValidationError, match="graph_level"):
        a_cpu(graph_level="ORT_ENABLE_ALL")


@pytest.mark.parametrize(("level", "warned"), [("basic", True), ("extended", False)])
def test_a_level_without_fusion_computes_int8_in_float(level, warned):
    """What is warned of is seen in a bundle's INT8 model: with Q/DQ pairs left apart, convolutions read float."""
    target = a_cpu(isa=("avx2",), graph_level=level)
    assert bool(target.warnings("int8")) is warned
    with Archive(INT8_BUNDLE) as archive:
        artifact, spec = archive.folder("artifact/"), archive.read_json("spec.json")
        profile = layer_times(artifact, spec, "onnxruntime", target.options(), 1, rounds=Rounds(1, 1))
    convolutions = [layer for layer in profile.layers if layer.operator.endswith("Conv")]
    in_int8 = sum(layer.precision == "int8" for layer in convolutions)
    assert in_int8 == 0 if warned else in_int8 > 0.9 * len(convolutions)
