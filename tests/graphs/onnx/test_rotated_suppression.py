"""The suppression of rotated boxes as a graph gives what the runtime gives, on ONNX Runtime and on OpenVINO."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecompile.runtime.tasks import _boxes, _rotated

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from edgecompile.graphs.onnx.row_choice import RAW, Rows  # noqa: E402
from edgecompile.graphs.onnx.suppression import Thresholds, graph_behind  # noqa: E402

SHAPES = [(1, 3, 300), (1, 15, 2100), (3, 5, 700), (2, 1, 100)]
"""Pictures, classes, anchors."""
LIMITS = [(0.25, 0.7, 300), (0.05, 0.3, 100), (0.6, 0.0, 7), (0.25, 1.0, 50)]
"""Lowest score, largest likeness, most boxes."""


def raw_rows(pictures: int, classes: int, anchors: int, seed: int = 0) -> np.ndarray:
    """Returns an output of (n, 4 + classes + 1, anchors) with crowds of boxes, and many scores that tie."""
    rng = np.random.default_rng(seed)
    output = np.empty((pictures, 5 + classes, anchors), np.float32)
    output[:, :2] = rng.uniform(0, 640, (pictures, 2, anchors))
    output[:, 2:4] = rng.uniform(5, 200, (pictures, 2, anchors))
    output[:, 4:-1] = np.round(rng.uniform(0, 1, (pictures, classes, anchors)) ** 4, 2)
    output[:, -1] = rng.uniform(-np.pi / 4, 3 * np.pi / 4, (pictures, anchors))
    return output


def on_onnx_runtime(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def on_openvino(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    openvino = pytest.importorskip("openvino")
    from edgecompile.graphs.openvino.ir_suppression import converted

    compiled = openvino.Core().compile_model(converted(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {next(iter(port.get_names())): value for port, value in compiled(inputs).items()}


def expected(rows: np.ndarray, limits: tuple[float, float, int], *, class_agnostic: bool = False) -> _boxes.Boxes:
    conf, iou, most = limits
    stated = {"class_agnostic": class_agnostic, "multi_label": False}
    return _rotated.decode_rotated(rows, conf=conf, iou=iou, max_det=most, **stated)


def assert_equal(found: dict[str, np.ndarray], picture: int, wanted: _boxes.Boxes) -> None:
    count = int(found["counts"][picture])
    assert count == len(wanted.scores)
    for name, values in wanted._asdict().items():
        np.testing.assert_array_equal(found[name][picture, :count], values, err_msg=name)
        assert not found[name][picture, count:].any(), f"{name}: what stands behind the objects is not zero"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("run", [on_onnx_runtime, pytest.param(on_openvino, marks=pytest.mark.slow)])
def test_suppression_is_that_of_the_runtime(run, limits, shape):
    pictures, classes, _ = shape
    output = raw_rows(*shape)
    rows = Rows("rotated", (-1, output.shape[1], -1), classes, 1)
    behind = graph_behind(rows, Thresholds(*limits), 18)
    onnx.checker.check_model(behind, full_check=True)
    found = run(behind, {RAW: output})
    assert found["boxes"].shape == (pictures, limits[2], 4)
    for picture in range(pictures):
        wanted = expected(output[picture], limits)
        assert len(wanted.scores) >= 1
        assert_equal(found, picture, wanted)


@pytest.mark.parametrize("operator_set", [13, 20])
def test_classes_drop_each_other_where_that_is_stated(operator_set):
    output, limits = raw_rows(1, 3, 600, seed=2), (0.2, 0.3, 300)
    rows = Rows("rotated", output.shape, 3, 1, class_agnostic=True)
    found = on_onnx_runtime(graph_behind(rows, Thresholds(*limits), operator_set), {RAW: output})
    wanted = expected(output[0], limits, class_agnostic=True)
    assert len(wanted.scores) < len(expected(output[0], limits).scores)
    assert_equal(found, 0, wanted)


@pytest.mark.parametrize("run", [on_onnx_runtime, pytest.param(on_openvino, marks=pytest.mark.slow)])
def test_thresholds_as_inputs(run):
    output = raw_rows(2, 3, 400, seed=3)
    behind = graph_behind(Rows("rotated", output.shape, 3, 1), Thresholds(0.25, 0.7, 300, as_inputs=True), 18)
    for limits in LIMITS:
        conf, iou, most = limits
        given = {"conf": np.array([conf], np.float32), "iou": np.array([iou], np.float32), "max_det": np.array([most])}
        found = run(behind, {RAW: output, **given})
        for picture in range(2):
            assert_equal(found, picture, expected(output[picture], limits))


@pytest.mark.parametrize("run", [on_onnx_runtime, pytest.param(on_openvino, marks=pytest.mark.slow)])
def test_a_picture_on_which_nothing_is_found(run):
    output = raw_rows(2, 3, 50)
    output[0, 4:-1] = 0
    behind = graph_behind(Rows("rotated", output.shape, 3, 1), Thresholds(0.25, 0.7, 300), 18)
    counts = run(behind, {RAW: output})["counts"]
    assert counts[0] == 0 < counts[1]
    output[:, 4:-1] = 0
    assert run(behind, {RAW: output})["counts"].tolist() == [0, 0]


def test_another_likeness_is_seen():
    """The negative control: suppression by another threshold is not equal."""
    output = raw_rows(1, 3, 600)
    found = on_onnx_runtime(
        graph_behind(Rows("rotated", output.shape, 3, 1), Thresholds(0.25, 0.6, 300), 18), {RAW: output}
    )
    with pytest.raises(AssertionError):
        assert_equal(found, 0, expected(output[0], (0.25, 0.3, 300)))
