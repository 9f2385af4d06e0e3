"""ONNX becomes LiteRT: the same boxes, the same file, INT8 where the pairs say, one line where it cannot be."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from exported import SIZE, pictures, simplified
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("ai_edge_litert")

from edgecompile.errors import BundleError, StepError
from edgecompile.graphs.litert import FILE
from edgecompile.graphs.litert.litert_artifact import compile_litert, lowered, require_operators, run_litert
from edgecompile.graphs.litert.litert_coverage import layers
from edgecompile.graphs.onnx.agreement import fixed_pictures, run
from edgecompile.graphs.onnx.embed import embed_pictures
from edgecompile.passes.int8_static import Int8Static
from edgecompile.quantization.qdq import calibrate, quantize
from edgecompile.runtime.backends.litert import Backend
from edgecompile.targets.litert import LiteRt


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("litert")
    facts = compile_litert(folder, model=simplified().model, spec=simplified().spec, half=False)
    return folder, facts


@pytest.fixture(scope="module")
def ranges(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranges")
    words = {"pictures": pictures("train", 8), "method": "minmax", "percentile": 99}
    calibrate(folder, model=simplified().model, spec=simplified().spec, **words)
    return folder / "ranges.json"


def pixels():
    import cv2

    return cv2.resize(cv2.imread(str(pictures("test", 1)[0])), SIZE[::-1])[None]


def expected():
    return run(simplified().model.read_bytes(), (pixels()[..., ::-1].transpose(0, 3, 1, 2) / 255).astype(np.float32))[0]


def found(folder):
    return Backend(folder, {}, 2, {}).infer(pixels())[0]


def quantized(folder, ranges, **left_out):
    placement = LiteRt.model_construct().simulated_placement(Int8Static())
    quantize(folder, model=simplified().model, ranges=ranges, placement=placement, **left_out)
    compile_litert(folder, model=folder / "model.onnx", spec=simplified().spec, half=False)
    return folder


def counts(folder):
    precisions = [layer.precision for layer in layers((folder / FILE).read_bytes())]
    return {name: precisions.count(name) for name in sorted(set(precisions))}


@pytest.mark.slow
def test_it_finds_the_same(converted):
    folder, facts = converted
    spec = json.loads((folder / "spec.json").read_text())
    assert (spec["input"]["shape"], spec["input"]["dtype"], spec["input"]["color"]) == ([1, *SIZE, 3], "uint8", "BGR")
    assert facts["max_abs_diff"]["scores"] < 1e-3
    assert expected()[:, 4:].max() > 0.5
    assert np.allclose(found(folder), expected(), atol=1e-2)


@pytest.mark.slow
def test_fp16_halves_the_file_and_two_conversions_give_equal_bytes(converted, tmp_path):
    for half in (False, True):
        compile_litert(tmp_path, model=simplified().model, spec=simplified().spec, half=half)
        if not half:
            for name in (FILE, "spec.json"):
                assert (tmp_path / name).read_bytes() == (converted[0] / name).read_bytes()
    assert 0.45 < (tmp_path / FILE).stat().st_size / (converted[0] / FILE).stat().st_size < 0.6
    assert np.abs(found(tmp_path) - expected())[:, 4:].max() < 0.01
    assert counts(tmp_path) == {"fp16": 87}


@pytest.mark.slow
def test_int8_keeps_the_objects_and_the_whole_graph_loses_them(converted, ranges, tmp_path):
    (kept := tmp_path / "kept").mkdir()
    (whole := tmp_path / "whole").mkdir()
    quantized(kept, ranges, exclude="auto")
    assert counts(kept) == {"int8": 87}
    assert (kept / FILE).stat().st_size < 0.4 * (converted[0] / FILE).stat().st_size
    assert 0 < np.abs(found(kept) - expected())[:, 4:].max() < 0.3
    quantized(whole, ranges, exclude=[])
    assert found(whole)[:, 4:].max() < 0.5 < expected()[:, 4:].max()


@pytest.mark.slow
def test_what_is_kept_in_float_is_in_float(ranges, tmp_path):
    quantized(tmp_path, ranges, exclude="auto", keep_float=["/model.0"])
    assert counts(tmp_path) == {"fp32": 1, "int8": 86}
    assert np.abs(found(tmp_path) - expected())[:, 4:].max() < 0.3


def picture_net(nodes, constants, output):
    """A graph of one picture and one output, of any shape."""
    entry = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 12, 16])
    end = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "model", [entry], [end], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def filters(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def one(kind, *inputs, **attributes):
    return helper.make_node(kind, list(inputs), ["found"], name="node", **attributes)


FORMS = {
    "stride 2 with a border all around": (
        [one("Conv", "images", "w", "b", pads=[1, 1, 1, 1], strides=[2, 2])],
        {"w": filters(4, 3, 3, 3), "b": filters(4)},
    ),
    "SAME_UPPER": ([one("Conv", "images", "w", auto_pad="SAME_UPPER", strides=[2, 2])], {"w": filters(4, 3, 3, 3)}),
    "SAME_LOWER": ([one("Conv", "images", "w", auto_pad="SAME_LOWER", strides=[2, 2])], {"w": filters(4, 3, 3, 3)}),
    "gaps": ([one("Conv", "images", "w", dilations=[2, 2], pads=[2, 2, 2, 2])], {"w": filters(4, 3, 3, 3)}),
    "channels by themselves, two each": (
        [one("Conv", "images", "w", group=3, pads=[1, 1, 1, 1])],
        {"w": filters(6, 1, 3, 3)},
    ),
    "groups": (
        [
            helper.make_node("Concat", ["images", "images"], ["six"], axis=1),
            one("Conv", "six", "w", group=2, pads=[1, 1, 1, 1]),
        ],
        {"w": filters(4, 3, 3, 3)},
    ),
    "enlarging convolution": ([one("ConvTranspose", "images", "w", strides=[2, 2])], {"w": filters(3, 5, 2, 2)}),
    "enlarging convolution with a border": (
        [one("ConvTranspose", "images", "w", strides=[2, 2], pads=[1, 1, 1, 1])],
        {"w": filters(3, 5, 4, 4)},
    ),
    "largest, border on both sides": (
        [one("MaxPool", "images", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])],
        {},
    ),
    "largest, rounded up": ([one("MaxPool", "images", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}),
    "mean, border counts": (
        [one("AveragePool", "images", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)],
        {},
    ),
    "mean of all": ([one("GlobalAveragePool", "images")], {}),
    "flat, product": (
        [
            helper.make_node("Flatten", ["images"], ["flat"], axis=1),
            one("Gemm", "flat", "w", "b", transB=1),
        ],
        {"w": filters(5, 576), "b": filters(5)},
    ),
    "product of pictures": (
        [helper.make_node("Transpose", ["images"], ["turned"], perm=[0, 1, 3, 2]), one("MatMul", "images", "turned")],
        {},
    ),
    "cut in unequal parts": (
        [
            helper.make_node("Split", ["images", "sizes"], ["first", "second"], axis=1),
            one("Concat", "second", "first", axis=1),
        ],
        {"sizes": np.array([1, 2])},
    ),
    "every second pixel": (
        [one("Slice", "images", "starts", "ends", "axes", "steps")],
        {"starts": [1, 0], "ends": [99, 16], "axes": [2, 3], "steps": [2, 2]},
    ),
    "another order of channels": ([one("Gather", "images", "order", axis=1)], {"order": np.array([2, 0, 1])}),
    "a distribution over channels": ([one("Softmax", "images", axis=1)], {}),
    "by channel": ([one("Mul", "images", "w")], {"w": filters(3, 1, 1)}),
    "enlarged by lines": (
        [one("Resize", "images", "", "scales", mode="linear")],
        {"scales": np.array([1, 1, 2, 2], np.float32)},
    ),
    "enlarged by repetition": (
        [one("Resize", "images", "", "scales", mode="nearest")],
        {"scales": np.array([1, 1, 2, 2], np.float32)},
    ),
    "slopes of their own": ([one("PRelu", "images", "w")], {"w": filters(3, 1, 1)}),
    "mish": (
        [
            helper.make_node("Softplus", ["images"], ["plus"]),
            helper.make_node("Tanh", ["plus"], ["bent"]),
            one("Mul", "images", "bent"),
        ],
        {},
    ),
    "hard sigmoid": ([one("HardSigmoid", "images", alpha=0.3, beta=0.1)], {}),
    "limits": ([one("Clip", "images", "low", "high")], {"low": np.float32(0.2), "high": np.float32(0.4)}),
    "reflected border": ([one("Pad", "images", "sides", mode="reflect")], {"sides": [0, 0, 1, 2, 0, 0, 3, 1]}),
    "mean by rows": ([one("ReduceMean", "images", "axes", keepdims=0)], {"axes": np.array([-1])}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_other_models_compute_the_same(form):
    nodes, constants = FORMS[form]
    model = picture_net(nodes, {name: np.asarray(value) for name, value in constants.items()}, "found")
    embed_pictures(model)
    _, pixels = fixed_pictures([1, 3, 12, 16], [12, 16])
    before = run(model.SerializeToString(), pixels)[0]
    after = run_litert(lowered(model, [1, 3, 12, 16], half=False), pixels, {})[0]
    assert before.shape == after.shape
    assert np.allclose(before, after, atol=1e-4)


@pytest.mark.slow
def test_operators_that_are_not_written_are_named():
    model = onnx.load(simplified().model)
    require_operators(model, {"output": {"decode": "yolo"}})
    model.graph.node[3].op_type = "GatherElements"
    with pytest.raises(StepError, match=r"known for GatherElements; passes\.onnx_export\.end2end=false"):
        require_operators(model, {"output": {"decode": "end2end"}})


BACKWARDS = {"s": np.array([-1]), "e": np.array([-99]), "a": np.array([3]), "t": np.array([-1])}


@pytest.mark.parametrize(
    ("node", "constants", "said"),
    [
        (one("Slice", "images", "s", "e", "a", "t"), BACKWARDS, "backwards"),
        (one("Resize", "images", "", "z", mode="cubic"), {"z": np.array([1, 1, 2, 2], np.float32)}, "'cubic'"),
        (one("AveragePool", "images", kernel_shape=[3, 3], pads=[0, 0, 1, 1]), {}, "leaves its border out"),
    ],
)
def test_forms_that_are_not_written_are_named(node, constants, said):
    model = picture_net([node], constants, "found")
    embed_pictures(model)
    with pytest.raises(StepError, match=said):
        lowered(model, [1, 3, 12, 16], half=False)


def test_a_file_that_is_none_is_refused_in_one_line():
    model = picture_net([one("Conv", "images", "w")], {"w": filters(4, 3, 3, 3)}, "found")
    embed_pictures(model)
    content = lowered(model, [1, 3, 12, 16], half=False)
    assert Backend({FILE: content}, {}, 1, {}).outputs == (frozenset({"found"}),)
    for damaged in (b"no model", content[:300], content[:8] + bytes(len(content) - 8)):
        with pytest.raises(BundleError, match="cannot open the model"):
            Backend({FILE: damaged}, {}, 1, {})
