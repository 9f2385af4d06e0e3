"""The last step for ONNX Runtime: bytes in, the same boxes out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from exported import SIZE, pictures, simplified

from edgecompile.errors import StepError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

from edgecompile.graphs.onnx import dfl  # noqa: E402
from edgecompile.graphs.onnx.agreement import run  # noqa: E402
from edgecompile.graphs.onnx.embed import embed_pictures  # noqa: E402
from edgecompile.graphs.onnx.onnx_artifact import compile_onnx  # noqa: E402


@pytest.fixture(scope="module")
def picture():
    import cv2

    return cv2.imread(str(pictures("test", 1)[0]))[None]


def scaled(picture):
    return np.ascontiguousarray(picture[..., ::-1].transpose(0, 3, 1, 2)) / np.float32(255)


def test_float_sample_takes_bytes(tmp_path, picture):
    facts = compile_onnx(tmp_path, model=simplified().model, spec=simplified().spec)
    spec = json.loads((tmp_path / "spec.json").read_text())
    assert spec["input"] == {
        **spec["input"],
        "shape": [1, *SIZE, 3],
        "dtype": "uint8",
        "layout": "NHWC",
        "color": "BGR",
    }
    assert spec["input"]["scale"] == 1
    found = run((tmp_path / "model.onnx").read_bytes(), picture)[0]
    assert np.allclose(found, run(simplified().model.read_bytes(), scaled(picture))[0], atol=1e-2, rtol=1e-4)
    assert "folded into the first convolution" in facts["changes"][0]
    assert "Gather" not in facts["operators"]


@pytest.mark.slow
def test_int8_sample_feeds_bytes_to_its_first_convolution(tmp_path, picture):
    from edgecompile.passes.int8_static import Int8Static
    from edgecompile.quantization.qdq import calibrate, quantize
    from edgecompile.targets.onnxruntime import OnnxRuntime

    (quantized := tmp_path / "int8").mkdir()
    model, spec = simplified().model, simplified().spec
    calibrate(quantized, model=model, spec=spec, pictures=pictures("train", 2), method="minmax", percentile=99.9)
    placement = OnnxRuntime(device="a CPU", memory_mb=1, isa=("avx512_vnni",)).placement(Int8Static())
    quantize(quantized, model=model, ranges=quantized / "ranges.json", placement=placement, exclude="auto")
    facts = compile_onnx(tmp_path, model=quantized / "model.onnx", spec=spec)
    assert "bytes feed the first INT8 convolution" in facts["changes"][0]
    compiled = onnx.load(tmp_path / "model.onnx")
    quantizers = [node for node in compiled.graph.node if node.op_type == "QuantizeLinear"]
    assert not any(node.input[0].startswith("images") for node in quantizers)
    before = run((quantized / "model.onnx").read_bytes(), scaled(picture))[0]
    assert np.allclose(run((tmp_path / "model.onnx").read_bytes(), picture)[0], before, atol=1e-3)


def test_what_cannot_be_folded_stands_before_the_first_operator(picture):
    """A net that does not begin with a convolution gets the arithmetic as nodes."""
    nodes = [helper.make_node("AveragePool", ["images"], ["y"], kernel_shape=[2, 2], strides=[2, 2])]
    info = [
        helper.make_tensor_value_info("images", 1, [1, 3, *SIZE]),
        helper.make_tensor_value_info("y", 1, [1, 3, 96, 128]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", info[:1], info[1:]), opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )
    expected = run(model.SerializeToString(), scaled(picture))[0]
    assert "cannot take them in" in embed_pictures(model)
    onnx.checker.check_model(model)
    assert np.allclose(run(model.SerializeToString(), picture)[0], expected, atol=1e-6)


def test_weights_that_others_read_are_not_changed():
    """A convolution whose weights serve twice cannot take the colour order in."""
    weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32), "w")
    nodes = [helper.make_node("Conv", ["images", "w"], ["a"]), helper.make_node("Conv", ["a", "w"], ["y"])]
    info = [helper.make_tensor_value_info("images", 1, [1, 3, 8, 8]), helper.make_tensor_value_info("y", 1, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", info[:1], info[1:], [weights]))
    assert "cannot take them in" in embed_pictures(model)
    assert np.array_equal(numpy_helper.to_array(model.graph.initializer[0]), numpy_helper.to_array(weights))


def distribution_mean(bins=16, perm=(0, 2, 1, 3), dtype=np.float32):
    weights = {"shape": np.array([1, 4, bins, 30]), "w": np.arange(bins, dtype=dtype).reshape(1, bins, 1, 1)}
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["a"], name="reshape"),
        helper.make_node("Transpose", ["a"], ["b"], name="transpose", perm=list(perm)),
        helper.make_node("Softmax", ["b"], ["c"], name="softmax", axis=1),
        helper.make_node("Conv", ["c", "w"], ["d"], name="mean"),
        helper.make_node("Identity", ["d"], ["y"], name="end"),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shape = [1, 4 * bins, 30]
    info = [helper.make_tensor_value_info("x", kind, shape), helper.make_tensor_value_info("y", kind, [1, 1, 4, 30])]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("spread", [1.0, 10.0, 70.0])
def test_mean_of_distributions_is_the_same_as_sums(spread):
    model, logits = distribution_mean(), np.random.default_rng(0).normal(0, spread, (1, 64, 30)).astype(np.float32)
    expected = run(model.SerializeToString(), np.clip(logits, -80, 80))[0]
    assert dfl.rewrite_expectations(model) == 1
    onnx.checker.check_model(model)
    assert not any(node.op_type == "Softmax" for node in model.graph.node)
    assert np.allclose(run(model.SerializeToString(), logits)[0], expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", [{"perm": (0, 3, 1, 2)}, {"dtype": np.float16}], ids=["other form", "FP16"])
def test_other_softmaxes_are_left_alone(changes):
    model = distribution_mean(**changes)
    before = model.SerializeToString()
    assert dfl.rewrite_expectations(model) == 0
    assert model.SerializeToString() == before


def test_a_wrong_rewrite_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dfl, "LARGEST", 0.5)
    with pytest.raises(StepError, match="compiling the graph changed what the model computes"):
        compile_onnx(tmp_path, model=simplified().model, spec=simplified().spec)
