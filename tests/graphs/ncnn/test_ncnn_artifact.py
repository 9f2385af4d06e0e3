"""ONNX becomes ncnn: the same boxes, the same files every time, and one line where it cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest
from exported import SIZE, pictures, simplified

pytest.importorskip("ncnn")

from edgecompile.errors import MissingToolError, StepError
from edgecompile.graphs.ncnn import BIN, PARAM, ncnn_artifact
from edgecompile.graphs.ncnn.ncnn_artifact import compile_ncnn, require_layers
from edgecompile.graphs.ncnn.param_file import means, read_layers, unfit, weights, write_layers
from edgecompile.quantization.ncnn_int8 import calibrate, quantize
from edgecompile.runtime.backends.ncnn import Backend

try:
    ncnn_artifact.program()
except MissingToolError:
    pytest.skip("pnnx is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ncnn")
    facts = compile_ncnn(folder, model=simplified().model, spec=simplified().spec, half=False)
    return folder, facts


def picture():
    from edgecompile.quantization.calibration_batches import input_reader

    return input_reader(simplified().spec)(pictures("test", 1)[0]).copy()


def expected():
    from edgecompile.graphs.onnx.agreement import run

    return run(simplified().model.read_bytes(), picture())[0]


def found(folder):
    return Backend(folder, {}, 1, {}).infer(picture())[0]


@pytest.mark.slow
def test_it_finds_the_same(converted):
    folder, facts = converted
    spec = json.loads((folder / "spec.json").read_text())
    assert (spec["input"]["name"], spec["output"]["name"]) == ("in0", "out0")
    assert spec["input"]["shape"] == [1, 3, *SIZE]
    assert facts["max_abs_diff"]["scores"] < 1e-3
    assert expected()[:, 4:].max() > 0.5
    assert np.allclose(found(folder), expected(), atol=1e-2)


@pytest.mark.slow
def test_two_conversions_give_equal_bytes(converted, tmp_path):
    compile_ncnn(tmp_path, model=simplified().model, spec=simplified().spec, half=False)
    for name in (PARAM, BIN, "spec.json"):
        assert (tmp_path / name).read_bytes() == (converted[0] / name).read_bytes()


@pytest.mark.slow
def test_fp16_halves_the_weights(converted, tmp_path):
    compile_ncnn(tmp_path, model=simplified().model, spec=simplified().spec, half=True)
    assert 0.45 < (tmp_path / BIN).stat().st_size / (converted[0] / BIN).stat().st_size < 0.55
    assert np.abs(found(tmp_path) - expected())[:, 4:].max() < 0.01


def test_the_text_is_read_and_written_as_it_stands(converted):
    text = (converted[0] / PARAM).read_text()
    layers = read_layers(text)
    assert [line.split() for line in write_layers(layers).splitlines()] == [line.split() for line in text.splitlines()]
    assert sum(len(flagged) for _, flagged, _ in weights(layers, (converted[0] / BIN).read_bytes())) > 1_000_000
    with pytest.raises(StepError, match="the layers need"):
        list(weights(layers, (converted[0] / BIN).read_bytes()[:-4]))
    with pytest.raises(StepError, match="is not ncnn's"):
        read_layers("no model")


def test_int8_keeps_the_objects_and_the_whole_graph_is_told(converted, tmp_path):
    folder = converted[0]
    calibrate(
        tmp_path, model=folder, spec=folder / "spec.json", pictures=pictures("train", 8), method="minmax", percentile=99
    )
    facts = quantize(tmp_path, model=folder, ranges=tmp_path / "ranges.json", per_channel=True, exclude="auto")
    layers = read_layers((folder / PARAM).read_text())
    first = next(layer.name for layer in layers if layer.kind == "Convolution")
    assert facts["excluded"] == unfit(layers) == sorted([first, *means(layers)])
    assert len(means(layers)) == 1
    assert (tmp_path / BIN).stat().st_size < 0.35 * (folder / BIN).stat().st_size
    gap = np.abs(found(tmp_path) - expected())
    assert 0 < gap[:, 4:].max() < 0.2
    with pytest.raises(StepError, match="matches no node"):
        quantize(tmp_path, model=folder, ranges=tmp_path / "ranges.json", per_channel=True, exclude=["conv_none"])


def test_layers_that_ncnn_lacks_are_named(converted):
    text = (converted[0] / PARAM).read_text()
    require_layers(text, {"output": {"decode": "yolo"}})
    with pytest.raises(StepError, match=r"no layer for GatherElements; passes\.onnx_export\.end2end=false"):
        require_layers(text.replace("Softmax ", "GatherElements ", 1), {"output": {"decode": "end2end"}})


def test_what_pnnx_cannot_read_is_one_line(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(StepError, match="pnnx cannot convert the model") as caught:
        ncnn_artifact.convert(tmp_path / "model.onnx", tmp_path, [3, *SIZE], half=False)
    assert "\n" not in str(caught.value)


def test_without_pnnx_the_command_is_named(monkeypatch):
    monkeypatch.setattr(ncnn_artifact, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match="pip install --no-deps pnnx"):
        ncnn_artifact.program()


def test_the_backend_refuses_what_is_no_model(converted):
    from edgecompile.errors import BundleError

    text, content = ((converted[0] / name).read_bytes() for name in (PARAM, BIN))
    for artifact in (
        {PARAM: b"no model", BIN: content},
        {PARAM: text, BIN: b""},
        {PARAM: text},
        {PARAM: text.replace(b"Softmax", b"Nothing"), BIN: content},
    ):
        with pytest.raises(BundleError) as caught:
            Backend(artifact, {}, 1, {})
        assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match="no option 'use_magic'"):
        Backend(converted[0], {}, 1, {"use_magic": True})
    with pytest.raises(BundleError, match="one picture at a time"):
        Backend({PARAM: text, BIN: content}, {}, 1, {}).infer(np.zeros((2, 3, *SIZE), np.float32))


def test_convolutions_that_become_pixels_stay_in_float():
    """A score behind a sigmoid, and key points that are multiplied and moved alone."""
    text = "\n".join(
        [
            "7767517",
            "8 8",
            "Input in0 0 1 in0",
            "Convolution first 1 1 in0 a 0=8 1=3 6=216",
            "Split fork 1 2 a b c",
            "Convolution scores 1 1 b d 0=3 1=1 6=24",
            "Convolution points 1 1 c e 0=6 1=1 6=48",
            "Sigmoid bound 1 1 d f",
            "BinaryOp scale 1 1 e g 0=2 1=1 2=8.0",
            "Concat rows 2 1 f g out0 0=0",
        ]
    )
    assert unfit(read_layers(text)) == ["first", "points"]
