"""Numbers that FP16 does not hold are found on pictures, named by layer, and left in float or refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nets
import numpy as np
import pytest
from exported import graph_for

from edgecompile.errors import StepError
from edgecompile.passes.fp16 import Fp16, convert
from edgecompile.passes.int8_static import Int8Static
from edgecompile.plan.fp16_range_steps import CHECK, add_fp16_range, needs_fp16_range
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.targets import _strongly_typed
from edgecompile.targets.cann import Cann
from edgecompile.targets.ncnn import Ncnn
from edgecompile.targets.ncs2 import Ncs2
from edgecompile.targets.onnxruntime import OnnxRuntime
from edgecompile.targets.openvino import OpenVino
from edgecompile.targets.tensorrt import TensorRt
from edgecompile.targets.tensorrt_rtx import TensorRtRtx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

from edgecompile.graphs.onnx.agreement import fixed_input, run  # noqa: E402
from edgecompile.graphs.onnx.fp16_simulation import round_to_half  # noqa: E402
from edgecompile.quantization.calibration import measure_ranges  # noqa: E402
from edgecompile.quantization.fp16_range import check  # noqa: E402

BOARD = {"device": "a device", "memory_mb": 1}
FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))


def picture():
    return fixed_input([1, 3, *nets.SIZE], nets.SIZE)


def scaled_by(model: onnx.ModelProto, factor: float, *, at: int = 2, operator: str = "Conv") -> onnx.ModelProto:
    """Multiplies what a convolution reads by a factor and divides it again, by two convolutions or two products."""
    graph = model.graph
    reader = [node for node in graph.node if node.op_type == "Conv"][at]
    place, source = list(graph.node).index(reader), reader.input[0]
    weights = {tensor.name: tensor for tensor in graph.initializer}[reader.input[1]]
    for name, value, before, after in (("up", factor, source, "large"), ("down", 1 / factor, "large", "back")):
        constant = np.float32(value)
        if operator == "Conv":
            constant = np.eye(weights.dims[1], dtype=np.float32)[:, :, None, None] * constant
        graph.initializer.append(numpy_helper.from_array(np.asarray(constant, np.float32), f"{name}_by"))
        graph.node.insert(place, helper.make_node(operator, [before, f"{name}_by"], [after], name=name))
        place += 1
    reader.input[0] = "back"
    onnx.checker.check_model(model, full_check=True)
    return model


def checked(folder, model, *, keeps_float, activations=True):
    path, _ = nets.written(model, folder / "float")
    ranges = None
    if activations:
        found = measure_ranges(model, lambda: [picture()], method="minmax", percentile=100)
        ranges = folder / "ranges.json"
        ranges.write_text(json.dumps(found))
    said = "calibration pictures" if activations else ""
    words = {"pictures": said, "keeps_float": keeps_float, "fix": "build in fp32"}
    return path, check(folder, model=path, ranges=ranges, **words)


@pytest.mark.parametrize("operator", ["Conv", "Mul"])
@pytest.mark.parametrize("at", [1, 2, 4])
def test_an_activation_beyond_fp16_ends_the_build_and_names_its_layer(tmp_path, operator, at):
    model = scaled_by(nets.detector(), 3e5, at=at, operator=operator)
    with pytest.raises(StepError, match=r"beyond FP16 .* on the calibration pictures: up \(\d.*; build in fp32"):
        checked(tmp_path, model, keeps_float=False)


def test_what_vanishes_ends_the_build_too(tmp_path):
    with pytest.raises(StepError, match=r"beyond FP16 .*up"):
        checked(tmp_path, scaled_by(nets.detector(), 1e-9), keeps_float=False)


def test_the_control_a_bias_that_vanishes_and_a_small_addend_are_no_harm(tmp_path):
    model = nets.detector()
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    bias = tensors[next(node for node in model.graph.node if node.op_type == "Conv").input[2]]
    bias.CopyFrom(numpy_helper.from_array(np.full(8, 1e-9, np.float32), bias.name))
    end = model.graph.node[-1]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1e-12), "epsilon"))
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Add", [end.input[0], "epsilon"], ["more"]))
    end.input[0] = "more"
    _, facts = checked(tmp_path, model, keeps_float=False)
    assert facts["warnings"] == []


def test_weights_beyond_fp16_end_the_build_where_activations_are_not_looked_at(tmp_path):
    model = scaled_by(nets.detector(), 1e6)
    with pytest.raises(StepError, match=r"beyond FP16 \(6e-08 to 65504\) in 1 layer: up \(1e\+06\)"):
        checked(tmp_path, model, keeps_float=False, activations=False)


def test_the_control_a_usual_net_fits(tmp_path):
    for keeps_float in (False, True):
        _, facts = checked(tmp_path, nets.detector(), keeps_float=keeps_float)
        assert facts["warnings"] == []
        assert 0 < facts["largest"] < 1000
        assert json.loads((tmp_path / "beyond.json").read_text()) == {"activations": [], "layers": []}


def test_what_lies_near_the_end_is_warned_of(tmp_path):
    model = scaled_by(nets.detector(), 1.0)
    _, facts = checked(tmp_path, model, keeps_float=False)
    large = json.loads((tmp_path / "ranges.json").read_text())["large"]
    near = 30_000 / max(map(abs, large))
    _, facts = checked(tmp_path, scaled_by(nets.detector(), near), keeps_float=False)
    (warning,) = [line for line in facts["warnings"] if "within a factor of 4 of 65504" in line]
    assert warning.endswith("in 1 layer on the calibration pictures: up (3e+04)")


def test_weights_with_few_digits_are_warned_of(tmp_path):
    _, facts = checked(tmp_path, scaled_by(nets.detector(), 2e-5), keeps_float=False, activations=False)
    assert facts["warnings"] == [
        "numbers below 6.1e-05, the smallest normal number of FP16, in 1 layer: up (2e-05)",
    ]


@pytest.mark.parametrize("operator", ["Conv", "Mul"])
def test_fp16_leaves_those_layers_in_float_and_computes_the_same(tmp_path, operator):
    model = scaled_by(nets.detector(), 3e5, operator=operator)
    path, facts = checked(tmp_path, model, keeps_float=True)
    assert "left in float" in facts["warnings"][0]
    made = convert(tmp_path, model=path, keep=[], beyond=tmp_path / "beyond.json")
    assert {"up", "down"} <= set(made["in_float"])
    expected = run(path.read_bytes(), picture())[0]
    simulated = onnx.load(tmp_path / "model.onnx")
    assert round_to_half(simulated, everything=False) > 0
    found = run(simulated.SerializeToString(), picture())[0]
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_the_control_without_it_the_simulation_sees_what_the_device_would(tmp_path):
    path, _ = nets.written(scaled_by(nets.detector(), 3e5), tmp_path / "float")
    convert(tmp_path, model=path, keep=[], beyond=nets.nothing_beyond(tmp_path))
    halved = onnx.load(tmp_path / "model.onnx")
    expected = run(path.read_bytes(), picture())[0]
    kind = run(halved.SerializeToString(), picture())[0]
    round_to_half(halved, everything=False)
    found = run(halved.SerializeToString(), picture())[0]
    assert np.isfinite(kind).all(), "a CPU computes in float"
    assert not np.isfinite(found).all() or np.abs(found - expected).max() > 0.1 * np.abs(expected).max()


def test_int8_leaves_them_in_float_too(tmp_path):
    from edgecompile.quantization.qdq import quantize
    from edgecompile.quantization.strongly_typed_qdq import halve_rest

    model = scaled_by(nets.detector(), 3e5, at=3)
    path, _ = checked(tmp_path, model, keeps_float=True)
    placement = _strongly_typed.placement(Int8Static())
    quantize(tmp_path, model=path, ranges=tmp_path / "ranges.json", placement=placement, exclude="auto")
    (out := tmp_path / "typed").mkdir()
    facts = halve_rest(out, model=tmp_path / "model.onnx", reference=path, beyond=tmp_path / "beyond.json")
    assert {"up", "down"} <= set(facts["in_float"])
    simulated = onnx.load(out / "model.onnx")
    round_to_half(simulated, everything=False)
    assert np.isfinite(run(simulated.SerializeToString(), picture())[0]).all()


def test_the_decode_part_is_in_float_from_end_to_end(tmp_path):
    """Between two nodes in float nothing is rounded to FP16."""
    path, _ = checked(tmp_path, nets.detector(), keeps_float=True)
    convert(tmp_path, model=path, keep=[], beyond=tmp_path / "beyond.json")
    model = onnx.load(tmp_path / "model.onnx")
    made = {name: node for node in model.graph.node for name in node.output}
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert casts
    assert not [one for one in casts if one.input[0] in made and made[one.input[0]].op_type == "Cast"]


def target(kind, **fields):
    return kind(**BOARD, **fields)


DEVICES = {
    "tensorrt fp16": (target(TensorRt), "fp16", True, True),
    "tensorrt int8": (target(TensorRt), "int8", True, True),
    "tensorrt fp32": (target(TensorRt), "fp32", False, True),
    "dla": (target(TensorRt, dla=0), "fp16", True, False),
    "rtx": (target(TensorRtRtx), "fp16", True, True),
    "cann fp16": (target(Cann, soc=("Ascend310B4",)), "fp16", True, False),
    "cann int8": (target(Cann, soc=("Ascend310B4",)), "int8", True, False),
    "cann fp32": (target(Cann, soc=("Ascend310B4",), precisions=("fp32",)), "fp32", True, False),
    "ncs2": (target(Ncs2), "fp16", True, False),
    "openvino GPU": (target(OpenVino, device_name="GPU", inference_precision="f16"), "int8", True, False),
    "openvino NPU": (target(OpenVino, device_name="NPU"), "fp16", True, False),
    "openvino CPU": (target(OpenVino), "int8", False, False),
    "ncnn f16": (target(Ncnn, inference_precision="f16"), "fp32", True, False),
    "ncnn f32": (target(Ncnn), "int8", False, False),
    "onnxruntime fp16": (target(OnnxRuntime, precisions=("fp16",)), "fp16", True, True),
    "onnxruntime int8": (target(OnnxRuntime), "int8", False, True),
}
"""A target, a precision, whether activations are FP16 there, and whether what is left in float is computed in float."""


@pytest.mark.parametrize("name", DEVICES)
def test_each_target_says_whether_it_computes_in_fp16(name):
    device, precision, computes, keeps = DEVICES[name]
    graph = graph_for(device)
    assert device.computes_fp16(precision) == computes
    assert device.keeps_float == keeps
    assert needs_fp16_range(graph, precision) == (computes or precision == "fp16")


@pytest.mark.parametrize("calibration", [True, False])
def test_ranges_are_measured_once_and_the_pictures_are_said(calibration):
    graph = graph_for(target(TensorRt), calibration=calibration)
    graph.steps.update(simplify=None, onnx_export=None)
    if calibration:
        Int8Static().lower(graph, FLOAT)
    assert add_fp16_range(graph, FLOAT, "int8") == Output(CHECK, "beyond.json")
    step = graph.steps[CHECK]
    name = "calibration" if calibration else "activation_ranges"
    assert step.inputs["ranges"] == Output(name, "ranges.json")
    assert step.params["pictures"] == f"{'calibration' if calibration else 'validation'} pictures"


def test_other_ranges_than_minimum_and_maximum_are_measured_beside():
    graph = graph_for(target(TensorRt))
    graph.steps.update(simplify=None, onnx_export=None)
    Int8Static(method="percentile").lower(graph, FLOAT)
    assert graph.steps[CHECK].inputs["ranges"] == Output("activation_ranges", "ranges.json")
    assert graph.steps["activation_ranges"].params["method"] == "minmax"


def test_where_only_weights_are_stored_so_no_pictures_are_needed():
    graph = graph_for(target(OpenVino))
    graph.steps.update(simplify=None, onnx_export=None)
    assert Fp16().lower(graph, FLOAT).precision == "fp16"
    add_fp16_range(graph, FLOAT, "fp16")
    assert set(graph.steps[CHECK].inputs) == {"model"}
    assert graph.steps[CHECK].params["pictures"] == ""


def test_a_device_behind_a_stand_in_is_judged_by_what_rounds_as_it_does():
    from edgecompile.plan.validation import add_validation

    for device, everything in ((target(TensorRt), False), (target(Cann, soc=("Ascend310B4",)), True)):
        graph = graph_for(device)
        graph.steps.update(compile=None, simplify=None, onnx_export=None)
        graph.recipe.evaluate = SimpleNamespace(conf=0.001, iou=0.7, max_det=300, latency_images=10)
        artifact = Model(Output("compile"), Output("compile", "spec.json"), "onnx", "fp16")
        add_validation(graph, artifact, FLOAT.with_(spec=Output("onnx_export", "spec.json")))
        assert graph.steps["fp16_simulation"].params["everything"] is everything
        for name in ("evaluate", "golden"):
            assert graph.steps[name].inputs["artifact"] == Output("fp16_simulation")
        assert graph.steps["evaluate"].inputs["shipped"] == Output("compile")
        assert graph.steps["coverage"].inputs["artifact"] == Output("compile")
