"""The times of layers: real runs of the embedded model on each backend, and what their runtimes did to its graph."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from rough_measurement import ROUGH

from edgecompile import cli
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.backends._onnxruntime_layers import owners_of, read_trace
from edgecompile.runtime.layer_lines import layer_lines
from edgecompile.runtime.layer_profile import LayerProfile
from edgecompile.runtime.layer_times import layer_times, layer_times_of_bundle
from edgecompile.runtime.layer_timings import Rounds
from edgecompile.runtime.onnx_nodes import Node, read_nodes

from .tiny import tiny_onnx, tiny_spec

FEW = Rounds(warmup=1, runs=3)
NO_GATES = [f"gates.{name}=null" for name in ("accuracy_drop", "latency_p95_ms", "fps", "size_mb")]


def built(shared: Path, monkeypatch: pytest.MonkeyPatch, folder: Path, recipe: str) -> Path:
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(shared / "cache"))
    words = [f"recipe={recipe}", "model=sample", "data=sample", f"hydra.run.dir={folder}", *NO_GATES, *ROUGH]
    assert cli.main(["build", *words]) == 0
    return next(folder.glob("*.bundle.zip"))


def profile_of(bundle: Path) -> LayerProfile:
    with Archive(bundle) as archive:
        return layer_times_of_bundle(archive, [], threads=1, rounds=FEW)


def is_whole(profile: LayerProfile) -> bool:
    """Says whether the parts of a profile agree with each other, and its document with it."""
    assert profile.runs == FEW.runs
    assert profile.layers_ms > 0
    assert sum(layer.share for layer in profile.layers) == pytest.approx(1, abs=1e-4 * len(profile.layers))
    assert sum(one.ms for one in profile.by_operator()) == pytest.approx(profile.layers_ms)
    assert sum(one.layers for one in profile.by_operator()) == len(profile.layers)
    assert profile.slowest(3)[0].ms == max(layer.ms for layer in profile.layers)
    return LayerProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


@pytest.mark.slow
def test_onnxruntime_tells_int8_layers_and_the_nodes_that_they_are_made_of(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = built(shared, monkeypatch, tmp_path, "x86-cpu_onnxruntime_int8")
    profile = profile_of(bundle)
    assert is_whole(profile)
    with Archive(bundle) as archive:
        nodes = read_nodes(archive.read("artifact/model.onnx"))
    convolutions = {node.name for node in nodes if node.operator == "Conv"}
    owners = {name: layer for layer in profile.layers for name in layer.nodes}
    assert convolutions <= owners.keys()
    in_int8 = [name for name in convolutions if owners[name].precision == "int8"]
    assert len(in_int8) > 0.9 * len(convolutions)
    assert {owners[name].operator for name in in_int8} == {"QLinearConv"}
    assert {owners[name].precision for name in convolutions.difference(in_int8)} == {"fp32"}
    stem = owners["/model.0/conv/Conv"]
    assert {"DequantizeLinear", "Conv", "QuantizeLinear"} <= set(stem.fused)
    assert len([name for layer in profile.layers for name in layer.nodes]) == len(owners)  # a node is in one layer
    block = [name for name in owners if name.startswith("/model.1/")]
    assert 0 < profile.ms_of(block) < profile.layers_ms
    assert profile.ms_of(["no such node"]) == 0


@pytest.mark.slow
def test_openvino_tells_what_it_fused(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = profile_of(built(shared, monkeypatch, tmp_path, "x86-cpu_openvino_fp32"))
    assert is_whole(profile)
    stem = next(layer for layer in profile.layers if "/model.1/conv/Conv" in layer.nodes)
    assert (stem.operator, stem.precision) == ("Convolution", "fp32")
    assert "/model.1/act/Mul" in stem.nodes  # the activation is computed by the convolution
    assert {"Convolution", "SwishCPU"} <= set(stem.fused)
    assert not any("Constant" in operator for operator in profile.folded)
    assert all("/WithoutBiases" not in name for layer in profile.layers for name in layer.nodes)


@pytest.mark.slow
def test_ncnn_is_asked_for_one_layer_at_a_time(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ncnn")
    bundle = built(shared, monkeypatch, tmp_path, "raspberry-pi-5_ncnn_int8")
    profile = profile_of(bundle)
    assert is_whole(profile)
    with Archive(bundle) as archive:
        lines = archive.read("artifact/model.param").decode().splitlines()[2:]
    assert [layer.name for layer in profile.layers] == [line.split()[1] for line in lines if line.split()[0] != "Input"]
    precisions = {layer.precision for layer in profile.layers if layer.operator == "Convolution"}
    assert precisions == {"int8", "fp32"}  # the first and the last stay in float
    assert profile.remarks


def test_an_artifact_that_is_in_no_bundle_is_profiled(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_onnx())
    profile = layer_times(model, tiny_spec(), "onnxruntime", {"graph_optimization_level": "ORT_DISABLE_ALL"}, 1)
    assert [layer.operator for layer in profile.layers][-1] == "Reshape"
    assert not profile.fusions()
    merged = layer_times(model, tiny_spec(), "onnxruntime", {}, 1, rounds=FEW)
    assert "FusedMatMul" in {layer.operator for layer in merged.layers} or len(merged.layers) < len(profile.layers)
    assert list(tmp_path.iterdir()) == [model]  # the trace is no file of the person's


def test_a_backend_that_does_not_tell_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edgecompile.runtime.backends import onnxruntime

    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_onnx())
    monkeypatch.delattr(onnxruntime.Backend, "time_layers")
    profile = layer_times(model, tiny_spec(), "onnxruntime", {}, 1)
    assert profile.layers == ()
    assert list(layer_lines(profile)) == ["layers: onnxruntime does not tell them"]
    monkeypatch.setattr(onnxruntime.Backend, "no_layer_times", "ask another", raising=False)
    assert layer_times(model, tiny_spec(), "onnxruntime", {}, 1).unknown == "ask another"


def test_bench_tells_layers_as_a_table_and_as_json(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", str(tiny_bundle), "--rounds", "2", "--layers", "--top", "2"]) == 0
    lines = capfd.readouterr().out.splitlines()
    titles = [line.split()[:2] for line in lines]
    at = titles.index(["slowest", "layers"])
    assert titles.index(["operator", "precision"]) < at
    assert len([line for line in lines[at + 1 :] if line.rstrip().endswith("%")]) == 2
    assert cli.main(["bench", str(tiny_bundle), "--rounds", "2", "--layers", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert LayerProfile.from_json(document["layers"]).layers
    assert cli.main(["bench", str(tiny_bundle), "--rounds", "2", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["layers"] is None


@pytest.mark.slow
def test_layers_go_into_the_report_of_the_run(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = built(shared, monkeypatch, tmp_path, "x86-cpu_onnxruntime_int8")
    capfd.readouterr()
    before = (tmp_path / "report.html").read_text()
    assert "Time by layer" not in before
    kept = ("how many took how long", "Loss by layer", "error enters in", '<section id="pictures">')
    assert all(said in before for said in kept)
    assert cli.main(["bench", str(bundle), "--rounds", "1", "--layers"]) == 0
    assert capfd.readouterr().err == f"report: {tmp_path / 'report.html'}\n"
    page = (tmp_path / "report.html").read_text()
    assert "Time by layer" in page
    assert all(said in page for said in kept)
    assert "QLinearConv" in page
    assert json.loads((tmp_path / "report.json").read_text())["layers"]["profile"]["layers"]
    other = tmp_path / "elsewhere"
    other.mkdir()
    os.link(bundle, other / bundle.name)
    assert cli.main(["bench", str(other / bundle.name), "--rounds", "1", "--layers"]) == 0
    assert "report:" not in capfd.readouterr().err


def node(operator: str, name: str, inputs: str, outputs: str) -> Node:
    return Node(name, operator, tuple(inputs.split()), tuple(outputs.split()))


CHAIN = [
    node("QuantizeLinear", "q0", "x", "xq"),
    node("DequantizeLinear", "d0", "xq", "xd"),
    node("Conv", "conv", "xd", "c"),
    node("Relu", "relu", "c", "r"),
    node("QuantizeLinear", "q1", "r", "rq"),
    node("DequantizeLinear", "d1", "rq", "rd"),
    node("Conv", "next", "rd", "n"),
]


@pytest.mark.parametrize(
    ("nodes", "layers", "owners"),
    [
        # A quantized convolution takes what dequantizes before it, and the activation and quantization behind it.
        (CHAIN, [("q0", "QuantizeLinear"), ("conv_token_3", "QLinearConv"), ("next", "QLinearConv")],
         [0, 1, 1, 1, 1, 2, 2]),
        # A float convolution takes the activation behind it, and not the one before it.
        ([node("Conv", "a", "x", "y"), node("Relu", "b", "y", "z"), node("Conv", "c", "z", "w")],
         [("a_nchwc", "Conv"), ("c_nchwc", "Conv")], [0, 0, 1]),
        # A layer of another operator than its node takes what stands before that.
        ([node("Conv", "a", "x", "y"), node("Sigmoid", "s", "y", "z"), node("Mul", "m", "y z", "w")],
         [("a", "Conv"), ("m/QuickGeluFusion/", "QuickGelu")], [0, 1, 1]),
        # What follows from constants alone is in no layer.
        ([node("Constant", "k", "", "y"), node("Cast", "c", "y", "z"), node("Add", "a", "x z", "w")],
         [("a", "Add")], [None, None, 0]),
        ([], [("ReorderInput", "ReorderInput")], []),
    ],
)  # fmt: skip
def test_nodes_without_a_layer_of_their_own_find_one(nodes: Any, layers: Any, owners: Any) -> None:
    assert owners_of(nodes, layers) == owners


def test_a_trace_is_read_run_by_run() -> None:
    """Two runs count; the first, and what stands outside of runs, does not."""
    events: list[dict[str, Any]] = [{"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 50}]
    for run in range(3):
        events.append({"cat": "Session", "name": "model_run", "ts": 100 * run + 100, "dur": 90 + run})
        for at, operator in enumerate(("Conv", "Relu")):
            shapes = [{"float": []}, {"uint8": [1, 3]}]
            about = {"op_name": operator, "node_index": str(at), "input_type_shape": shapes}
            event = {"cat": "Node", "name": f"{operator}_{at}_kernel_time", "args": about}
            events.append({**event, "ts": 100 * run + 101 + at, "dur": 1000 * (run + 1) + at})
    timings = read_trace(events, [], warmup=1)
    assert [list(layer.samples_ms) for layer in timings.layers] == [[2.0, 3.0], [2.001, 3.001]]
    assert {layer.precision for layer in timings.layers} == {"int8"}
    assert timings.runs_ms == [0.091, 0.092]
