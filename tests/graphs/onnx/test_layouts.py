"""Layouts of foreign outputs, on real pictures: each is recognised by its numbers, and brought into the one decoded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_models
import numpy as np
import onnx
import pytest
from exported import NAMES, SIZE, exported, pictures

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.agreement import run
from edgecompile.graphs.onnx.layouts import (
    AUTO,
    Expected,
    Observed,
    Reading,
    layout_names,
    layout_of,
    read_as,
    rewrite,
)
from edgecompile.quantization.calibration_batches import input_reader

STATED = Expected(stated=3, assumed=3)
ASSUMED = Expected(stated=None, assumed=3)

LAYOUTS = {
    "yolo": foreign_models.sample,
    "end2end": foreign_models.suppressed,
    "yolo_rows": foreign_models.yolo_rows,
    "rows_with_objectness": foreign_models.rows_with_objectness,
}


@pytest.fixture(scope="module")
def tensors() -> list[np.ndarray]:
    """Two pictures of the sample, as its model takes them."""
    read = input_reader(exported().spec)
    return [read(picture).copy() for picture in pictures("val", 2)]


def observed(model: onnx.ModelProto, tensors: list[np.ndarray]) -> list[Observed]:
    return [Observed(tuple(run(model.SerializeToString(), one)), SIZE) for one in tensors]


def reading_of(
    model: onnx.ModelProto, tensors: list[np.ndarray], expected: Expected = STATED, wanted: str = AUTO, **options: Any
) -> Reading:
    names = [output.name for output in model.graph.output]
    return read_as(observed(model, tensors), names, expected, wanted, options)


def refusal(model: onnx.ModelProto, tensors: list[np.ndarray], expected: Expected = STATED, wanted: str = AUTO) -> str:
    with pytest.raises(StepError) as raised:
        reading_of(model, tensors, expected, wanted)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_each_file_is_a_layout() -> None:
    detectors = {name for name in layout_names() if layout_of(name).DECODE != "probabilities"}
    assert {name for name in detectors if layout_of(name).BY_NUMBERS} == set(LAYOUTS)
    for name in layout_names():
        assert layout_of(name).DECODE in ("yolo", "end2end", "probabilities")
        assert any(shape in layout_of(name).ABOUT for shape in ("(n, ", "(1, ", "(k, ", "cls_8"))


@pytest.mark.parametrize("wanted", [AUTO, "its own"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_recognised_and_rewritten(name: str, wanted: str, tensors: list[np.ndarray]) -> None:
    model = LAYOUTS[name]()
    reading = reading_of(model, tensors, STATED, AUTO if wanted == AUTO else name)
    assert (reading.name, reading.classes) == (name, 3)
    added, unread = rewrite(model, reading)
    assert unread == []
    assert bool(added) == (name not in ("yolo", "end2end"))
    onnx.checker.check_model(model, full_check=True)
    if reading.layout.DECODE == "yolo":
        for one in tensors:
            ours = run(model.SerializeToString(), one)[0]
            assert np.allclose(ours, run(exported().model.read_bytes(), one)[0], rtol=1e-4, atol=1e-4)


def test_half_precision_outputs_become_float32(tensors: list[np.ndarray]) -> None:
    half = foreign_models.behind(lambda add: add("Cast", "output0", to=onnx.TensorProto.FLOAT16), [1, 7, 1008])
    half.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    assert rewrite(half, reading_of(half, tensors, STATED, AUTO)) == (1, [])
    assert run(half.SerializeToString(), tensors[0])[0].dtype == np.float32


def test_names_that_the_model_uses_are_not_taken(tensors: list[np.ndarray]) -> None:
    model = foreign_models.yolo_rows()
    first = model.graph.node[0]
    for node in model.graph.node:
        node.input[:] = ["boxes_transpose" if name == first.output[0] else name for name in node.input]
    first.output[0], first.name = "boxes_transpose", "boxes/Transpose"
    rewrite(model, reading_of(model, tensors, STATED, AUTO))
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    ("build", "wanted", "said"),
    [
        (foreign_models.rows_with_objectness, "end2end", "it is not end2end: that is (n, boxes, 6)"),
        (
            lambda: foreign_models.rows_with_objectness(1),
            "end2end",
            "it is not end2end: its class numbers are not whole",
        ),
        (foreign_models.corners, AUTO, "it is not yolo: its boxes are corners (x1 y1 x2 y2), expected centre and size"),
        (foreign_models.logits, AUTO, "it is not yolo: its scores range from -"),
        (lambda: foreign_models.scaled_boxes(1 / 256), AUTO, "its boxes are fractions of the picture (mostly below"),
        (lambda: foreign_models.scaled_boxes(-1), AUTO, "of its boxes have a width or height below 0"),
        (lambda: foreign_models.scaled_boxes(np.nan), AUTO, "it is not yolo: it holds numbers that are not finite"),
    ],
)
def test_numbers_that_contradict_a_layout_are_named(
    build: Callable[[], onnx.ModelProto], wanted: str, said: str, tensors: list[np.ndarray]
) -> None:
    assert said in refusal(build(), tensors, wanted=wanted)


def test_end2end_rows_of_other_numbers_are_refused(tensors: list[np.ndarray]) -> None:
    def rows(column: int, factor: float) -> onnx.ModelProto:
        model, factors = foreign_models.suppressed(), np.ones((1, 1, 6), np.float32)
        factors[..., column] = factor
        model.graph.initializer.append(onnx.numpy_helper.from_array(factors, "factors"))
        model.graph.node.append(onnx.helper.make_node("Mul", [model.graph.output[0].name, "factors"], ["changed"]))
        model.graph.output[0].name = "changed"
        return model

    assert "its class numbers range from 0 to 14, expected 0 to 2" in refusal(rows(5, 7), tensors)
    assert "its scores range from 0 to" in refusal(rows(4, 7), tensors)
    assert "the second corner stands before the first" in refusal(rows(2, 0.1), tensors)
    assert reading_of(rows(2, 1), tensors, STATED, AUTO).name == "end2end"


def test_the_file_decides_how_many_classes_there_are(tensors: list[np.ndarray]) -> None:
    said = refusal(foreign_models.sample(), tensors, Expected(stated=80, assumed=3))
    assert (
        "[1, 7, 1008]; it is not yolo: it would have 3 classes, the file names 80; what can be read: end2end is" in said
    )


def test_without_names_in_the_file_a_layout_of_rows_must_be_stated(tensors: list[np.ndarray]) -> None:
    """Rows of one class with objectness and of two without have one shape, and numbers that fit both."""
    model = foreign_models.rows_with_objectness(1)
    said = refusal(model, tensors, ASSUMED)
    assert "it is not end2end: its class numbers are not whole" in said
    assert (
        "fits rows_with_objectness ((n, anchors, 5 + classes): centre, size, objectness, class scores) of 1 class"
        in said
    )
    key = "passes.onnx_import.outputs.layout"
    assert f"{key}=rows_with_objectness or {key}=yolo_rows" in said
    reading = reading_of(model, tensors, ASSUMED, "rows_with_objectness")
    assert (reading.name, reading.classes) == ("rows_with_objectness", 1)


def test_without_names_in_the_file_another_count_than_that_of_the_data_must_be_stated(
    tensors: list[np.ndarray],
) -> None:
    few = Expected(stated=None, assumed=2)
    said = refusal(foreign_models.sample(), tensors, few)
    assert "of 3 classes; the data set names 2; state which it is: passes.onnx_import.outputs.layout=yolo" in said
    assert reading_of(foreign_models.sample(), tensors, few, "yolo").classes == 3


def test_rows_of_one_class_without_suppression_are_told_from_those_with_objectness(tensors: list[np.ndarray]) -> None:
    model = foreign_models.suppressed()
    only = np.array([1, 1, 1, 1, 1, 0], np.float32).reshape(1, 1, 6)
    model.graph.initializer.append(onnx.numpy_helper.from_array(only, "only"))
    model.graph.node.append(onnx.helper.make_node("Mul", [model.graph.output[0].name, "only"], ["of_one"]))
    model.graph.output[0].name = "of_one"
    for expected in (Expected(1, 1), Expected(None, 1)):
        assert reading_of(model, tensors, expected, AUTO).name == "end2end"


def test_every_name_of_the_sample_is_used() -> None:
    assert len(NAMES) == foreign_models.CLASSES
    assert Path(exported().model).is_file()
