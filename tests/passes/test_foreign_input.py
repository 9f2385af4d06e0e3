"""Foreign models that want their pictures otherwise: after the import all take float32 pictures 0..1, RGB, alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import foreign_models
import numpy as np
import onnx
import pytest
from exported import NAMES, SIZE, exported, pictures
from onnx import TensorProto, helper, numpy_helper

from edgecompile.errors import RecipeError, StepError
from edgecompile.graphs.onnx.agreement import fixed_input
from edgecompile.graphs.onnx.agreement import run as run_model
from edgecompile.passes.onnx_import import OnnxImport, import_model
from edgecompile.runtime import open_artifact
from edgecompile.runtime.spec import read_spec

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def declared(model: onnx.ModelProto, shape: list[Any], kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", kind, shape))
    return model


def in_front(*steps: tuple[Any, ...], shape: list[Any] | None = None, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """The sample with nodes before it: (operator, constants, attributes)."""
    model = foreign_models.sample()

    def build(name: str) -> list[onnx.NodeProto]:
        nodes, last = [], name
        for number, (operator, constants, attributes) in enumerate(steps):
            names = [
                foreign_models.constant(model, f"c{number}_{place}", np.asarray(value))
                for place, value in enumerate(constants)
            ]
            nodes.append(helper.make_node(operator, [last, *names], [f"front_{number}"], **attributes))
            last = f"front_{number}"
        return nodes

    return declared(foreign_models.before(model, build), shape or [1, 3, *SIZE], kind)


def row(values: Any) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


REVERSED = ("Gather", [np.array([2, 1, 0])], {"axis": 1})
BYTES = ("Mul", [np.float32(1 / 255)], {})
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "bytes as floats": (lambda: in_front(BYTES), {"scale": 1}),
    "BGR": (lambda: in_front(REVERSED), {"color": "BGR"}),
    "BGR 0..255": (lambda: in_front(BYTES, REVERSED), {"color": "BGR", "scale": 1}),
    "mean and std": (lambda: in_front(("Mul", [row(STD)], {}), ("Add", [row(MEAN)], {})), {"mean": MEAN, "std": STD}),
    "mean of bytes": (
        lambda: in_front(("Mul", [row(np.array(STD))], {}), ("Add", [row(MEAN)], {}), REVERSED),
        {
            "color": "BGR",
            "scale": 1,
            "mean": tuple(255 * value for value in MEAN),
            "std": tuple(255 * value for value in STD),
        },
    ),
    "channels last": (lambda: in_front(("Transpose", [], {"perm": [0, 3, 1, 2]}), shape=[1, *SIZE, 3]), {}),
    "half": (lambda: in_front(("Cast", [], {"to": TensorProto.FLOAT}), kind=TensorProto.FLOAT16), {}),
    "bytes": (
        lambda: in_front(("Cast", [], {"to": TensorProto.FLOAT}), BYTES, kind=TensorProto.UINT8),
        {"scale": 1, "dtype": "uint8"},
    ),
    "bytes, channels last": (
        lambda: in_front(
            ("Transpose", [], {"perm": [0, 3, 1, 2]}),
            ("Cast", [], {"to": TensorProto.FLOAT}),
            BYTES,
            REVERSED,
            shape=[1, *SIZE, 3],
            kind=TensorProto.UINT8,
        ),
        {"scale": 1, "color": "BGR"},
    ),
    "open axes": (lambda: declared(foreign_models.sample(), ["n", 3, "h", "w"]), {}),
}
"""Name to the sample with what undoes a preprocessing in front, and to the statement of that preprocessing."""


def imported(folder: Path, model: onnx.ModelProto, **stated: Any) -> dict[str, Any]:
    weights = foreign_models.written(model, folder / "given.onnx")
    entry, outputs = OnnxImport(**stated).statement()
    (folder / "out").mkdir(exist_ok=True)
    return import_model(
        folder / "out", weights=weights, pictures=pictures("val", 2), imgsz=SIZE, names=NAMES, task="detect",
        entry=entry.stated(), outputs=outputs.stated(),
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_model_wants_becomes_part_of_it(name: str, tmp_path: Path) -> None:
    build, stated = CASES[name]
    imported(tmp_path, build(), input=stated)
    model = onnx.load(tmp_path / "out" / "model.onnx")
    kind = model.graph.input[0].type.tensor_type
    assert (kind.elem_type, [axis.dim_value for axis in kind.shape.dim]) == (TensorProto.FLOAT, [1, 3, *SIZE])
    spec = read_spec(tmp_path / "out" / "spec.json")
    assert (spec.input.color, spec.input.scale, spec.input.mean) == ("RGB", 1 / 255, (0, 0, 0))
    picture = np.round(fixed_input([1, 3, *SIZE], SIZE) * 255).astype(np.float32) / 255
    ours, theirs = (
        run_model(content, picture)[0] for content in (model.SerializeToString(), exported().model.read_bytes())
    )
    close = 0.5 if name == "half" else 2e-2  # a picture in half precision has steps of 1/2048
    assert np.abs(ours - theirs).max() < close


def test_another_statement_gives_other_numbers(tmp_path: Path) -> None:
    """The control."""
    imported(tmp_path, in_front(REVERSED))
    picture = fixed_input([1, 3, *SIZE], SIZE)
    ours, theirs = (
        run_model(path.read_bytes(), picture)[0] for path in (tmp_path / "out" / "model.onnx", exported().model)
    )
    assert np.abs(ours - theirs).max() > 1


def test_scale_and_order_go_into_the_first_convolution(tmp_path: Path) -> None:
    """And cost nothing; a mean would change the border, so it stays in front."""
    model = foreign_models.sample()
    reader = next(node for node in model.graph.node if "images" in node.input)
    tensor = next(one for one in model.graph.initializer if one.name == reader.input[1])
    value = numpy_helper.to_array(tensor)[:, ::-1] / 255
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), tensor.name))
    facts = imported(tmp_path, model, input={"color": "BGR", "scale": 1})
    assert facts["changes"] == ["scale and order of colours of the input go into the first convolution"]
    assert facts["operators"] == json_counts(exported().model)
    picture = fixed_input([1, 3, *SIZE], SIZE)
    ours, theirs = (
        run_model(path.read_bytes(), picture)[0] for path in (tmp_path / "out" / "model.onnx", exported().model)
    )
    assert np.abs(ours - theirs).max() < 1e-2


def json_counts(path: Path) -> dict[str, int]:
    from edgecompile.graphs.onnx.serialization import operator_counts

    return operator_counts(onnx.load(path))


def halved() -> onnx.ModelProto:
    from edgecompile.graphs.onnx.fp16 import halve

    return halve(foreign_models.sample())


def test_weights_of_half_precision_are_widened(tmp_path: Path) -> None:
    facts = imported(tmp_path, halved())
    assert any("weights of half precision are float32 now" in change for change in facts["changes"])
    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert not any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer)
    picture = fixed_input([1, 3, *SIZE], SIZE)
    ours, theirs = (
        run_model(path.read_bytes(), picture)[0] for path in (tmp_path / "out" / "model.onnx", exported().model)
    )
    assert np.abs(ours - theirs).max() < 1  # weights were rounded to half before


@pytest.mark.parametrize("channels", [1, 4])
def test_other_numbers_of_channels(channels: int, tmp_path: Path) -> None:
    def build(name: str) -> list[onnx.NodeProto]:
        if channels == 1:
            return [helper.make_node("Concat", [name] * 3, ["x"], axis=1)]
        order = foreign_models.constant(model, "order", np.array([2, 1, 0]))
        return [helper.make_node("Gather", [name, order], ["x"], axis=1)]

    model = foreign_models.sample()
    foreign_models.before(model, build)
    if channels == 4:
        with pytest.raises(RecipeError, match="picture has 3 channels, the model takes 4"):
            imported(tmp_path, declared(model, [1, 4, *SIZE]))
        return
    imported(tmp_path, declared(model, [1, 1, *SIZE]))
    spec = read_spec(tmp_path / "out" / "spec.json")
    assert (spec.input.color, spec.input.shape) == ("GRAY", (1, 1, *SIZE))
    predictor = open_artifact(tmp_path / "out" / "model.onnx", tmp_path / "out" / "spec.json", "onnxruntime", {}, 1)
    assert predictor.predict(np.zeros((*SIZE, 3), np.uint8)) is not None
    assert len(predictor.predict(str(pictures("test", 1)[0]))) >= 0


@pytest.mark.parametrize(
    ("shape", "stated", "said"),
    [
        ([1, 3, *SIZE], {"color": "GRAY"}, "(1, 3, 192, 256)), expected 1"),
        ([1, 3, *SIZE], {"mean": (1, 2)}, "passes.onnx_import.input.mean has 2 numbers, and the model 3 channels"),
        ([1, 3, *SIZE], {"dtype": "uint8"}, "input.dtype is uint8, and the model's input is float32; leave dtype out"),
        (
            [1, 7, *SIZE],
            {},
            "takes pictures of 7 channels (its input has the shape (1, 7, 192, 256)), expected 1 or 3 or 4",
        ),
    ],
)
def test_statements_that_do_not_fit_are_told(shape: Any, stated: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(StepError) as raised:
        imported(tmp_path, declared(foreign_models.sample(), shape), input=stated)
    assert said in str(raised.value)


def test_inputs_of_sizes_are_filled_in(tmp_path: Path) -> None:
    """As D-FINE and RT-DETR are exported: boxes come in pixels of `orig_target_sizes`."""
    model = foreign_models.sample()
    model.graph.input.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["n", 2]))
    size = helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=TensorProto.FLOAT)
    axes = foreign_models.constant(model, "axes", np.array([2]))
    twice = helper.make_node("Concat", ["size", "size"], ["sizes"], axis=1)
    sides = helper.make_node("Unsqueeze", ["sizes", axes], ["sides"])
    cut = helper.make_node(
        "Split", ["output0", foreign_models.constant(model, "parts", np.array([4, 3]))], ["b", "s"], axis=1
    )
    whole = foreign_models.constant(model, "whole", np.array([256, 192, 256, 192], np.float32).reshape(1, 4, 1))
    nodes = [
        size, twice, sides, cut,
        helper.make_node("Div", ["b", whole], ["fractions"]),
        helper.make_node("Mul", ["fractions", "sides"], ["pixels"]),
        helper.make_node("Concat", ["pixels", "s"], ["joined"], axis=1),
    ]  # fmt: skip
    model.graph.node.extend(nodes)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("joined", TensorProto.FLOAT, [1, 7, 1008]))
    facts = imported(tmp_path, model)
    assert facts["changes"][0] == "the input 'orig_target_sizes' is a constant: width and height of the model's input"
    picture = fixed_input([1, 3, *SIZE], SIZE)
    ours, theirs = (
        run_model(path.read_bytes(), picture)[0] for path in (tmp_path / "out" / "model.onnx", exported().model)
    )
    assert np.abs(ours - theirs).max() < 1e-2


def test_how_a_picture_comes_to_size_stands_in_the_spec(tmp_path: Path) -> None:
    stated = {"resize": "crop", "fill": 7, "align": "top_left", "interpolation": "antialias", "shortest": 300}
    imported(tmp_path, foreign_models.sample(), input=stated)
    frame = read_spec(tmp_path / "out" / "spec.json").frame
    assert (frame.resize, frame.fill, frame.center, frame.interpolation, frame.shortest) == (
        "crop", 7, False, "antialias", 300,
    )  # fmt: skip
