"""A layout decoded for several sizes of pictures puts out at each what it puts out where it is decoded for that one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import foreign_models
import numpy as np
import onnx
import pytest
from exported import NAMES, pictures
from onnx import TensorProto, helper, numpy_helper

from edgecompile.graphs.onnx.agreement import run
from edgecompile.passes.onnx_import import OnnxImport, import_model

SIZES = {"min": [1, 3, 64, 96], "opt": [1, 3, 96, 128], "max": [1, 3, 128, 224]}
STRIDES = (8, 16, 32)
CLASSES = len(NAMES)


class Net:
    """Pictures of any size to feature maps of random numbers."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(0)

    def __call__(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        names = [one if isinstance(one, str) else self.stored(one) for one in inputs]
        self.nodes.append(helper.make_node(operator, names, [f"made_{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def stored(self, value: Any) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value), f"stored_{len(self.weights)}"))
        return self.weights[-1].name

    def map(self, stride: int, channels: int) -> str:
        pooled = self("AveragePool", "images", kernel_shape=[stride] * 2, strides=[stride] * 2)
        return self("Conv", pooled, self.rng.normal(0, 2, (channels, 3, 1, 1)).astype(np.float32))

    def rows(self, channels: int, strides: Sequence[int] = STRIDES) -> str:
        """(1, cells of all feature maps, channels)"""
        flat = [self("Reshape", self.map(stride, channels), np.array([0, channels, -1])) for stride in strides]
        return self("Transpose", self("Concat", *flat, axis=2), perm=[0, 2, 1])

    def scores(self, channels: int) -> str:
        return self("Sigmoid", self.rows(channels))

    def done(self, axes: int = 3, **outputs: str) -> onnx.ModelProto:
        self.nodes += [helper.make_node("Identity", [tensor], [name]) for name, tensor in outputs.items()]
        entry = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "h", "w"])
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * axes) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", [entry], values, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def yolox() -> onnx.ModelProto:
    net = Net()
    return net.done(output=net("Concat", net.rows(4), net.scores(1 + CLASSES), axis=2))


def nanodet() -> onnx.ModelProto:
    net = Net()
    return net.done(output=net("Concat", net.scores(CLASSES), net.rows(4 * 8), axis=2))


def yunet() -> onnx.ModelProto:
    net = Net()
    outputs = {}
    for stride in STRIDES:
        for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4)):
            rows = net.rows(channels, [stride])
            outputs[f"{kind}_{stride}"] = rows if kind == "bbox" else net("Sigmoid", rows)
    return net.done(**outputs)


def fastestdet() -> onnx.ModelProto:
    net = Net()
    parts = [net("Sigmoid", net.map(16, 1)), net.map(16, 4), net("Sigmoid", net.map(16, CLASSES))]
    return net.done(4, output=net("Concat", *parts, axis=1))


def anchor_maps() -> onnx.ModelProto:
    net = Net()
    return net.done(4, **{f"map_{stride}": net.map(stride, 2 * (5 + CLASSES)) for stride in STRIDES})


def fractions() -> onnx.ModelProto:
    net = Net()
    return net.done(boxes=net.scores(4), scores=net.scores(CLASSES))


def queries() -> onnx.ModelProto:
    """The first 40 cells."""
    net = Net()
    cut = (np.array([0]), np.array([40]), np.array([1]))
    return net.done(boxes=net("Slice", net.scores(4), *cut), logits=net("Slice", net.rows(CLASSES), *cut))


CASES: dict[str, tuple[Callable[[], onnx.ModelProto], dict[str, Any]]] = {
    "yolox": (yolox, {"outputs": {"layout": "yolox"}}),
    "nanodet": (nanodet, {"family": "nanodet"}),
    "yunet": (yunet, {"outputs": {"layout": "yunet"}}),
    "fastestdet": (fastestdet, {"family": "fastestdet"}),
    "anchor_maps": (anchor_maps, {"outputs": {"layout": "anchor_maps", "anchors": [[8, 9, 10, 12]] * 3}}),
    "fractions": (
        fractions,
        {"outputs": {"layout": "boxes_and_scores", "boxes": "centres", "unit": "fractions"}},
    ),
    "queries": (queries, {"family": "rtdetr"}),
}


def imported(folder: Path, weights: Path, size: list[int], profile: Any, **stated: Any) -> bytes:
    folder.mkdir()
    entry, outputs = OnnxImport(**stated).statement()
    import_model(
        folder, weights=weights, pictures=pictures("val", 1), imgsz=size, names=NAMES, task="detect",
        entry=entry.stated(), outputs=outputs.stated(), profile=profile,
    )  # fmt: skip
    return (folder / "model.onnx").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_each_size_is_decoded_as_if_it_were_the_only_one(name: str, tmp_path: Path) -> None:
    build, stated = CASES[name]
    weights = foreign_models.written(build(), tmp_path / "given.onnx")
    any_size = imported(tmp_path / "any", weights, [96, 128], SIZES, **stated)
    nodes = onnx.load_from_string(any_size).graph.node
    assert "MatMul" not in {node.op_type for node in nodes}  # RTX 20 has no products of matrices in float
    for point, shape in SIZES.items():
        picture = np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)
        only = imported(tmp_path / point, weights, shape[2:], None, **stated)
        ours, theirs = run(any_size, picture)[0], run(only, picture)[0]
        assert ours.shape == theirs.shape
        assert np.isfinite(ours).all()
        assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_sizes_that_are_no_multiple_of_the_stride_have_a_cell_more(tmp_path: Path) -> None:
    """The grid of (72, 104) has 4 columns of stride 32, as a convolution with padding makes them."""
    from edgecompile.graphs.onnx.layouts import Hints, _boxes_of
    from edgecompile.graphs.onnx.layouts._nodes import Behind

    model = Net().done(4, output="images")
    behind = Behind(model, ["output"])
    places, strides = _boxes_of.placed_cells(behind, Hints(1, (64, 96), largest=(128, 224)), STRIDES)
    behind.put_out(behind.one("Concat", places, strides, axis=1), 3)
    ours = run(model.SerializeToString(), np.zeros((1, 3, 72, 104), np.float32))[0]
    assert np.array_equal(ours, np.concatenate(_boxes_of.grid((72, 104), STRIDES), axis=1))
