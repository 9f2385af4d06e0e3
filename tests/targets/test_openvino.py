"""OpenVINO as a target: its options, its last step, and what it warns of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from exported import graph_for
from pydantic import ValidationError

from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.runtime.backends.openvino import Backend
from edgecompile.runtime.options import check_options
from edgecompile.targets.openvino import OpenVino

CONF = Path(__file__).parents[2] / "conf" / "target"
WRITTEN = sorted(path for path in CONF.glob("*.yaml") if "kind: openvino" in path.read_text())
FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))


def a_cpu(**fields):
    return OpenVino(**{"device": "a CPU", "memory_mb": 1024, **fields})


def compiled(target, model=FLOAT):
    graph = graph_for(target)
    graph.steps.update(simplify=None, onnx_export=None, quantization=None)
    return graph.steps, target.compile(graph, model)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_written_targets_are_valid_and_say_where_they_come_from(path):
    target = OpenVino(**yaml.safe_load(path.read_text()))
    assert target.source
    assert bool(target.warnings("int8")) is (target.arch == "aarch64" and "asimddp" not in target.isa)
    assert all(not target.warnings(precision) for precision in target.precisions if target.proxy_backend())
    assert target.board.source or not target.proxy_backend()
    assert target.options()["DEVICE"] == target.device_name


def test_amx_is_used_only_where_the_target_lists_it():
    assert "ONEDNN_MAX_CPU_ISA" in a_cpu(isa=("avx2",)).options()
    assert "ONEDNN_MAX_CPU_ISA" not in a_cpu(isa=("avx2", "amx_int8")).options()
    assert "ONEDNN_MAX_CPU_ISA" not in a_cpu(arch="aarch64", isa=("asimd",)).options()
    assert "ONEDNN_MAX_CPU_ISA" not in a_cpu(device_name="GPU").options()


def test_device_hint_and_precision_are_recorded():
    plain = {"DEVICE": "CPU", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    assert a_cpu(arch="aarch64").options() == plain
    assert a_cpu(device_name="NPU", hint="throughput", inference_precision="f16").options() == {
        "DEVICE": "NPU",
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": "f16",
    }
    auto = a_cpu(device_name="AUTO:NPU,GPU.1,CPU", inference_precision="f16").options()
    assert auto["DEVICE_PROPERTIES"] == {
        "NPU": {"INFERENCE_PRECISION_HINT": "f16"},
        "GPU.1": {"INFERENCE_PRECISION_HINT": "f16"},
        "CPU": {"INFERENCE_PRECISION_HINT": "f32"},
    }
    assert "INFERENCE_PRECISION_HINT" not in auto


def test_scheduling_is_stated_where_it_is_chosen_and_of_a_cpu_alone():
    chosen = a_cpu(arch="aarch64", num_streams=2, hyper_threading=False, core_type="performance", cpu_pinning=True)
    cores = {"ENABLE_HYPER_THREADING": False, "SCHEDULING_CORE_TYPE": "PCORE_ONLY", "ENABLE_CPU_PINNING": True}
    assert {**a_cpu(arch="aarch64").options(), "NUM_STREAMS": 2, **cores} == chosen.options()
    auto = a_cpu(device_name="AUTO:GPU,CPU", num_streams=4, core_type="efficiency").options()
    assert auto["DEVICE_PROPERTIES"] == {
        "GPU": {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 4},
        "CPU": {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 4, "SCHEDULING_CORE_TYPE": "ECORE_ONLY"},
    }
    for options in (chosen.options(), auto):
        assert not list(check_options(Backend.options, options))
    with pytest.raises(ValidationError, match="core_type: says how a CPU is used"):
        a_cpu(device_name="GPU", core_type="performance")
    with pytest.raises(ValidationError, match="num_streams"):
        a_cpu(num_streams=0)


@pytest.mark.parametrize("wrong", ["MYRIAD", "GPU.x", "AUTO", "AUTO:", "AUTO:GPU,", "CPU,GPU", "gpu", "AUTO:AUTO:CPU"])
def test_a_device_that_openvino_does_not_have_is_refused(wrong):
    with pytest.raises(ValidationError, match="device_name"):
        a_cpu(device_name=wrong)


@pytest.mark.parametrize("device_name", ["GPU", "GPU.1", "NPU", "AUTO:GPU,CPU"])
def test_a_cpu_stands_in_for_what_the_building_machine_may_lack(device_name):
    assert a_cpu().proxy_backend() is None
    backend, distribution, options = a_cpu(device_name=device_name, inference_precision="f16").proxy_backend()
    assert (backend, distribution) == ("openvino", "openvino")
    assert options == {
        "DEVICE": "CPU",
        "INFERENCE_PRECISION_HINT": "f32",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16",
    }


def test_an_npu_takes_static_shapes_only():
    assert a_cpu().dynamic == a_cpu(device_name="AUTO:GPU,CPU").dynamic == {"batch", "imgsz"}
    assert not a_cpu(device_name="NPU").dynamic
    assert not a_cpu(device_name="AUTO:NPU,CPU").dynamic


def test_the_artifact_is_a_folder_that_says_how_to_feed_it():
    steps, model = compiled(a_cpu())
    assert model == Model(Output("compile"), Output("compile", "spec.json"), "openvino", "fp32")
    assert dict(steps["compile"].params) == {"half": False, "separate_silu": False}


@pytest.mark.parametrize(
    ("isa", "precision", "separate"),
    [(("amx_int8",), "int8", True), (("amx_int8",), "fp32", False), (("avx512_vnni",), "int8", False)],
)
def test_silus_are_kept_apart_where_amx_would_make_them_slow(isa, precision, separate):
    steps, _ = compiled(a_cpu(isa=isa), FLOAT.with_(precision=precision))
    assert steps["compile"].params["separate_silu"] is separate


def test_fp16_is_how_weights_are_stored():
    steps, _ = compiled(a_cpu(), FLOAT.with_(precision="fp16"))
    assert steps["compile"].params["half"] is True
    assert not a_cpu().fp16_in_graph


def test_a_precision_that_will_not_help_is_said():
    assert "neither AVX2 nor VNNI" in a_cpu(isa=("sse4_2",)).warnings("int8")[0]
    assert not a_cpu(isa=("avx2",)).warnings("int8")
    assert "not the time" in a_cpu(isa=("avx512_vnni",)).warnings("fp16")[0]
    assert not a_cpu(isa=("avx512_vnni",)).warnings("fp32")
    assert not a_cpu(device_name="GPU", inference_precision="f16").warnings("fp16")
    assert not a_cpu(device_name="GPU", inference_precision="f16").warnings("int8")
    assert "add the pass fp16" in a_cpu(device_name="GPU", inference_precision="f16").warnings("fp32")[0]
