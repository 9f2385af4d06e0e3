"""The post-processing as a graph gives bit by bit what the runtime gives, on ONNX Runtime and on OpenVINO."""

from __future__ import annotations

import numpy as np
import pytest

from edgecompile.errors import StepError
from edgecompile.runtime.tasks import _boxes

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from edgecompile.graphs.onnx.row_choice import RAW, Rows  # noqa: E402
from edgecompile.graphs.onnx.suppression import Thresholds, append, graph_behind  # noqa: E402

LIMITS = {"conf": 0.25, "iou": 0.7, "max_det": 100}
SHAPES = [(1, 3, 0, 300), (1, 80, 0, 2100), (3, 5, 32, 500), (2, 1, 0, 200)]
"""Pictures, classes, extras, anchors."""


def raw_rows(pictures: int, classes: int, extras: int, anchors: int, seed: int = 0) -> np.ndarray:
    """Returns an output of (n, 4 + classes + extras, anchors) with crowds of boxes, and many scores that tie."""
    rng = np.random.default_rng(seed)
    output = rng.normal(size=(pictures, 4 + classes + extras, anchors)).astype(np.float32)
    output[:, :2] = rng.uniform(0, 640, (pictures, 2, anchors))
    output[:, 2:4] = rng.uniform(20, 200, (pictures, 2, anchors))
    output[:, 4 : 4 + classes] = np.round(rng.uniform(0, 1, (pictures, classes, anchors)) ** 4, 2)
    return output


def end2end_rows(pictures: int, rows: int, extras: int = 0, seed: int = 0) -> np.ndarray:
    """Returns an output of (n, rows, 6 + extras), whose rows are not sorted."""
    rng = np.random.default_rng(seed)
    output = rng.uniform(0, 600, (pictures, rows, 6 + extras)).astype(np.float32)
    output[:, :, 4] = rng.uniform(0, 1, (pictures, rows))
    output[:, :, 5] = rng.integers(0, 4, (pictures, rows))
    return output


def run(model: onnx.ModelProto, output: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    return dict(zip(names, session.run(names, {RAW: output}), strict=True))


def assert_equal(found: dict[str, np.ndarray], picture: int, expected: _boxes.Boxes) -> None:
    count = int(found["counts"][picture])
    assert count == len(expected.scores)
    for name, values in expected._asdict().items():
        if name in found:
            np.testing.assert_array_equal(found[name][picture, :count], values, err_msg=name)
            assert not found[name][picture, count:].any(), f"{name}: what stands behind the objects is not zero"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("operator_set", [13, 18, 20])
def test_suppression_is_that_of_the_runtime(shape, agnostic, operator_set):
    pictures, classes, extras, _ = shape
    output = raw_rows(*shape)
    for stated in (output.shape, (-1, output.shape[1], -1)):
        behind = graph_behind(Rows("yolo", stated, classes, extras, agnostic), Thresholds(**LIMITS), operator_set)
        onnx.checker.check_model(behind, full_check=True)
        found = run(behind, output)
        assert found["boxes"].shape == (pictures, 100, 4)
        for picture in range(pictures):
            expected = _boxes.decode_yolo(output[picture], **LIMITS, class_agnostic=agnostic, extras=extras)
            assert_equal(found, picture, expected)
            assert len(expected.scores) > 50


@pytest.mark.parametrize(("rows", "extras"), [(300, 0), (300, 32), (40, 0)])
def test_the_choice_of_rows_is_that_of_the_runtime(rows, extras):
    output = end2end_rows(2, rows, extras)
    found = run(graph_behind(Rows("end2end", (-1, *output.shape[1:]), 4, extras), Thresholds(**LIMITS), 18), output)
    for picture in range(2):
        expected = _boxes.decode_end2end(output[picture], conf=0.25, max_det=100, classes=4)
        assert_equal(found, picture, expected)


@pytest.mark.parametrize("iou", [0.0, 0.45, 1.0])
def test_other_thresholds(iou):
    limits = {"conf": 0.6, "iou": iou, "max_det": 7}
    output = raw_rows(2, 3, 0, 400, seed=3)
    found = run(graph_behind(Rows("yolo", output.shape, 3, 0), Thresholds(**limits), 18), output)
    for picture in range(2):
        assert_equal(found, picture, _boxes.decode_yolo(output[picture], **limits))


def test_a_picture_on_which_nothing_is_found():
    output = raw_rows(2, 3, 0, 50)
    output[0, 4:] = 0
    found = run(graph_behind(Rows("yolo", output.shape, 3, 0), Thresholds(**LIMITS), 18), output)
    assert found["counts"][0] == 0 < found["counts"][1]
    output[:, 4:] = 0
    assert run(graph_behind(Rows("yolo", output.shape, 3, 0), Thresholds(**LIMITS), 18), output)["counts"].tolist() == [
        0,
        0,
    ]


def test_another_overlap_is_seen():
    """The negative control: suppression by another threshold is not equal."""
    output = raw_rows(1, 3, 0, 400)
    found = run(graph_behind(Rows("yolo", output.shape, 3, 0), Thresholds(0.25, 0.6, 100), 18), output)
    with pytest.raises(AssertionError):
        assert_equal(found, 0, _boxes.decode_yolo(output[0], **LIMITS))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_openvino_gives_the_same(shape, tmp_path):
    openvino = pytest.importorskip("openvino")
    pictures, classes, extras, _ = shape
    output = raw_rows(*shape)
    onnx.save(graph_behind(Rows("yolo", output.shape, classes, extras), Thresholds(**LIMITS), 18), tmp_path / "a.onnx")
    model = openvino.convert_model(tmp_path / "a.onnx")
    values = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(output)
    found = {next(iter(port.get_names())): value for port, value in values.items()}
    for picture in range(pictures):
        assert_equal(found, picture, _boxes.decode_yolo(output[picture], **LIMITS, extras=extras))


def test_too_old_an_operator_set_and_open_rows_are_refused():
    with pytest.raises(StepError, match="operator set 13"):
        graph_behind(Rows("yolo", (1, 7, 10), 3, 0), Thresholds(**LIMITS), 12)
    with pytest.raises(StepError, match="number of rows"):
        graph_behind(Rows("end2end", (1, -1, 6), 3, 0), Thresholds(**LIMITS), 18)


def test_a_model_keeps_its_other_outputs_and_gives_up_names():
    """Tensors within a model that have the names of the new outputs are renamed."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Identity", ["images"], ["boxes"]),
        helper.make_node("Identity", ["boxes"], ["output0"]),
        helper.make_node("Neg", ["boxes"], ["other"]),
    ]
    values = {name: helper.make_tensor_value_info(name, 1, [1, 7, 50]) for name in ("images", "output0", "other")}
    graph = helper.make_graph(nodes, "g", [values["images"]], [values["output0"], values["other"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    append(model, "output0", graph_behind(Rows("yolo", (1, 7, 50), 3, 0), Thresholds(**LIMITS), 18))
    onnx.checker.check_model(model, full_check=True)
    output = raw_rows(1, 3, 0, 50)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    assert names == ["boxes", "scores", "classes", "counts", "other"]
    found = dict(zip(names, session.run(None, {"images": output}), strict=True))
    np.testing.assert_array_equal(found.pop("other"), -output)
    assert_equal(found, 0, _boxes.decode_yolo(output[0], **LIMITS))
