"""A rewrite of a quantized graph is judged without the rounding of activations, and so passes whatever was excluded."""

from __future__ import annotations

import json

import nets
import numpy as np
import pytest
from exported import pictures, simplified

from edgecompile.errors import StepError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from edgecompile.graphs.onnx import (  # noqa: E402
    dfl,
    rounding,
)
from edgecompile.graphs.onnx.agreement import fixed_input, run  # noqa: E402
from edgecompile.graphs.onnx.onnx_artifact import compile_onnx  # noqa: E402
from edgecompile.graphs.onnx.rounding import require_same_quantizers, without_rounding  # noqa: E402
from edgecompile.passes import int8_dynamic  # noqa: E402
from edgecompile.passes.int8_static import Int8Static  # noqa: E402
from edgecompile.quantization.calibration import measure_ranges  # noqa: E402
from edgecompile.quantization.qdq import calibrate, quantize  # noqa: E402
from edgecompile.targets.onnxruntime import OnnxRuntime  # noqa: E402

pytestmark = pytest.mark.slow

PLACEMENT = OnnxRuntime(device="a CPU", memory_mb=1, isa=("avx512_vnni",)).placement(Int8Static())
FIRST = "/model.0/conv/Conv"


@pytest.fixture(scope="module")
def sample_ranges(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranges")
    chosen = {"method": "minmax", "percentile": 99.9, "pictures": pictures("train", 4)}
    calibrate(out, model=simplified().model, spec=simplified().spec, **chosen)
    return out / "ranges.json"


def quantized_sample(out, ranges, exclude):
    quantize(out, model=simplified().model, ranges=ranges, placement=PLACEMENT, exclude=["auto", *exclude])
    return out / "model.onnx"


@pytest.mark.parametrize(
    "exclude",
    [
        (),
        (FIRST,),
        ("/model.0/*",),
        ("/model.0/*", "/model.1/*", "/model.2/*"),
        ("/model.[0-9]/*",),
        ("/model.4/*", "/model.23/*"),
    ],
)
def test_the_sample_compiles_whatever_stays_in_float(tmp_path, sample_ranges, exclude):
    model = quantized_sample(tmp_path, sample_ranges, exclude)
    (tmp_path / "out").mkdir()
    facts = compile_onnx(tmp_path / "out", model=model, spec=simplified().spec)
    assert facts["max_abs_diff"]["boxes"] < 0.05


@pytest.mark.parametrize("activation", ["silu", "relu", "hardswish", "leaky"])
@pytest.mark.parametrize("exclude", [(), ("conv_0",), ("conv_0", "conv_3"), ("conv_[3-9]*",)])
def test_other_nets_compile_too(tmp_path, activation, exclude):
    graph = nets.detector(activation=activation, seed=len(exclude))
    model, spec = nets.written(graph, tmp_path / "float")
    names = [node.name for node in graph.graph.node]
    left = [name for name in exclude if "*" in name or name in names]
    found = measure_ranges(graph, lambda: [fixed_input([1, 3, *nets.SIZE], nets.SIZE)], method="minmax", percentile=100)
    (tmp_path / "ranges.json").write_text(json.dumps(found))
    quantize(tmp_path, model=model, ranges=tmp_path / "ranges.json", placement=PLACEMENT, exclude=["auto", *left])
    (tmp_path / "out").mkdir()
    compile_onnx(tmp_path / "out", model=tmp_path / "model.onnx", spec=spec)


def test_rounding_is_what_would_refuse_a_right_rewrite(tmp_path, sample_ranges, monkeypatch):
    """The negative control: the tolerance of float graphs is not met where activations are rounded."""
    model = quantized_sample(tmp_path, sample_ranges, (FIRST,))
    monkeypatch.setattr(rounding, "without_rounding", lambda model: model)
    with pytest.raises(StepError, match="changed what the model computes"):
        compile_onnx(tmp_path, model=model, spec=simplified().spec)


def test_a_wrong_rewrite_of_a_quantized_graph_is_refused(tmp_path, sample_ranges, monkeypatch):
    model = quantized_sample(tmp_path, sample_ranges, (FIRST,))
    monkeypatch.setattr(dfl, "LARGEST", 0.5)
    with pytest.raises(StepError, match="changed what the model computes"):
        compile_onnx(tmp_path, model=model, spec=simplified().spec)


def test_other_scales_are_refused(tmp_path, sample_ranges):
    before = onnx.load(quantized_sample(tmp_path, sample_ranges, ()))
    after = onnx.ModelProto.FromString(before.SerializeToString())
    require_same_quantizers(before, after, "the rewrite")
    name = next(node.input[1] for node in after.graph.node if node.op_type == "QuantizeLinear")
    tensor = next(one for one in after.graph.initializer if one.name == name)
    value = onnx.numpy_helper.to_array(tensor) * np.float32(1.01)
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    with pytest.raises(StepError, match="the rewrite changed the scales"):
        require_same_quantizers(before, after, "the rewrite")


def test_without_rounding_the_outputs_are_near_those_of_float(tmp_path, sample_ranges):
    model = onnx.load(quantized_sample(tmp_path, sample_ranges, ()))
    picture = fixed_input([1, 3, 192, 256], [192, 256])
    expected = run(simplified().model.read_bytes(), picture)[0]
    rounded, plain = (
        np.abs(run(one.SerializeToString(), picture)[0] - expected).max() for one in (model, without_rounding(model))
    )
    assert plain < rounded


def test_dynamic_products_lose_their_rounding(tmp_path):
    net = nets.Net()
    flat = net.node("Reshape", "images", net.constant(np.array([1, 6, -1], np.int64)))
    weights = net.noise.integers(-127, 128, (3 * 64 * 96 // 6, 48)).astype(np.float32) / 2048
    weights[0] = 127 / 2048  # so that 8 bits hold the weights exactly: what differs is the rounding of activations
    graph = net.model(net.node("MatMul", flat, net.constant(weights)), 6, 48)
    model, _ = nets.written(graph, tmp_path / "float")
    int8_dynamic.quantize(tmp_path, model=model, per_channel=True, convolution_share=0.2)
    quantized = onnx.load(tmp_path / "model.onnx")
    assert any(node.op_type == "MatMulInteger" for node in quantized.graph.node)
    plain = without_rounding(quantized)
    assert not any("Integer" in node.op_type or "Dynamic" in node.op_type for node in plain.graph.node)
    picture = fixed_input([1, 3, *nets.SIZE], nets.SIZE)
    rounded, exact = (
        np.abs(run(one.SerializeToString(), picture)[0] - picture.reshape(1, 6, -1) @ weights).max()
        for one in (quantized, plain)
    )
    assert exact < 1e-4 < 1e-3 < rounded
