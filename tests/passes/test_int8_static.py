"""Static INT8 as a whole: the plan of both runtimes, and what the steps do to the sample."""

from __future__ import annotations

import json

import numpy as np
import pytest
from exported import graph_for, pictures, simplified

from edgecompile.errors import PlanError
from edgecompile.passes.int8_static import Int8Static
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output, Stage
from edgecompile.targets.onnxruntime import OnnxRuntime
from edgecompile.targets.openvino import OpenVino

CPU = {"device": "a CPU", "memory_mb": 4096}
XEON = {**CPU, "isa": ("avx2", "avx512_vnni")}
FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))


def planned(target, **fields):
    graph = graph_for(target)
    graph.steps.update(simplify=None, onnx_export=None)
    return graph, Int8Static(**fields).lower(graph, FLOAT)


def test_onnxruntime_calibrates_in_a_step_that_knows_nothing_of_placement():
    """So another exclusion or symmetry reuses the ranges."""
    one, _ = planned(OnnxRuntime(**XEON))
    other, model = planned(OnnxRuntime(**XEON), exclude=("/model.10/*",), per_channel=False, symmetric=True)
    assert one.steps["calibration"] == other.steps["calibration"]
    assert one.steps["quantization"] != other.steps["quantization"]
    assert one.steps["calibration"].stage is Stage.CALIBRATION
    assert model == FLOAT.with_(artifact=Output("quantization", "model.onnx"), precision="int8")
    assert any("three times slower" in note for note in other.notes)
    assert not one.notes


def test_openvino_quantizes_its_own_graph():
    graph, model = planned(OpenVino(**XEON), method="entropy")
    assert model.format == "openvino"
    assert graph.steps["quantization"].params["method"] == "entropy"
    assert json.dumps(dict(graph.steps["quantization"].params))


def test_it_needs_a_float_model_and_pictures():
    with pytest.raises(PlanError, match="alone of its kind"):
        Int8Static().lower(graph_for(OnnxRuntime(**XEON)), FLOAT.with_(precision="int8"))
    with pytest.raises(PlanError, match="calibration pictures"):
        Int8Static().lower(graph_for(OnnxRuntime(**XEON), calibration=False), FLOAT)


@pytest.mark.parametrize(
    "field", [{"method": "max"}, {"percentile": 50}, {"symmetric": "maybe"}, {"exclude": "all"}, {"per_chanel": True}]
)
def test_fields_are_checked(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        Int8Static(**field)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """Returns a function that quantizes the sample for ONNX Runtime and returns its raw output on a test picture."""
    pytest.importorskip("onnxruntime")
    from edgecompile.graphs.onnx.agreement import run
    from edgecompile.quantization.calibration_batches import input_reader
    from edgecompile.quantization.qdq import calibrate, quantize

    spec, model = simplified().spec, simplified().model
    folder = tmp_path_factory.mktemp("int8")
    calibrate(folder, model=model, spec=spec, pictures=pictures("train", 16), method="minmax", percentile=99.9)
    picture = input_reader(spec)(pictures("test", 1)[0]).copy()

    def build(isa=("avx512_vnni",), **fields):
        settings = Int8Static(**fields)
        placement = OnnxRuntime(**{**CPU, "isa": isa}).placement(settings)
        facts = quantize(
            folder,
            model=model,
            ranges=folder / "ranges.json",
            placement=placement,
            exclude=settings.left_in_float()["exclude"],
        )
        return run((folder / "model.onnx").read_bytes(), picture)[0], facts

    build.reference = run(model.read_bytes(), picture)[0]
    build.folder = folder
    return build


@pytest.mark.slow
def test_decode_part_in_float_keeps_the_detections(quantized):
    found, facts = quantized()
    reference = quantized.reference
    assert reference[:, 4:].max() > 0.5, "the picture shows something"
    assert np.corrcoef(found[:, 4:].ravel(), reference[:, 4:].ravel())[0, 1] > 0.98
    strong = reference[0, 4:].max(axis=0) > 0.5
    assert np.abs(found[0, :4, strong] - reference[0, :4, strong]).max() < 8
    assert facts["changes"][0] == "87 of 87 learned layers in INT8"


@pytest.mark.slow
def test_whole_graph_loses_every_detection(quantized):
    """The negative control: one scale for pixels and scores rounds every score to zero."""
    found, facts = quantized(exclude=())
    assert found[:, 4:].max() < 0.1 < 0.5 < quantized.reference[:, 4:].max()
    assert facts["in_float"] == []


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"symmetric": True}, {"per_channel": False}, {"isa": ("avx2",)}])
def test_other_placements_keep_the_detections(quantized, fields):
    found, _ = quantized(**fields)
    assert np.corrcoef(found[:, 4:].ravel(), quantized.reference[:, 4:].ravel())[0, 1] > 0.95


@pytest.mark.slow
def test_patterns_join_the_decode_part(quantized):
    _, facts = quantized(exclude=("auto", "/model.10/*"))
    _, auto = quantized()
    assert set(auto["in_float"]) < set(facts["in_float"])
    assert any(name.startswith("/model.10/") for name in facts["in_float"])
