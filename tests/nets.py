"""Small detection models with made-up weights, written node by node: what a test asks of a graph stands in the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

SIZE = [64, 96]
"""Height and width of their pictures."""
CLASSES = ["first", "second"]
STRIDE = 8


class Net:
    """A graph under construction. Each method adds nodes and returns the name of the tensor they put out."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.noise = np.random.default_rng(seed)

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def constant(self, value: object) -> str:
        name = f"constant_{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def convolution(self, source: str, before: int, after: int, *, kernel: int = 3, stride: int = 1) -> str:
        spread = (2 / (before * kernel * kernel)) ** 0.5
        weights = self.noise.normal(0, spread, (after, before, kernel, kernel)).astype(np.float32)
        bias = self.noise.normal(0, 0.2, after).astype(np.float32)
        pads = [kernel // 2] * 4
        return self.node(
            "Conv", source, self.constant(weights), self.constant(bias),
            kernel_shape=[kernel, kernel], strides=[stride, stride], pads=pads,
        )  # fmt: skip

    def activation(self, source: str, kind: str) -> str:
        if kind == "silu":
            return self.node("Mul", source, self.node("Sigmoid", source))
        return self.node({"relu": "Relu", "hardswish": "HardSwish", "leaky": "LeakyRelu"}[kind], source)

    def model(self, output: str, rows: int, anchors: int, *, size: Sequence[int] = SIZE) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [output], ["output0"], name="end"))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, *size])],
            [helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, [1, rows, anchors])],
            self.tensors,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        onnx.checker.check_model(made, full_check=True)
        return made


def detector(*, seed: int = 0, activation: str = "silu", channels: Sequence[int] = (8, 16, 24)) -> onnx.ModelProto:
    """Returns a detection model: a backbone of three strides, then boxes in pixels and scores of two classes."""
    net = Net(seed)
    source, before = "images", 3
    for after in channels:
        source = net.activation(net.convolution(source, before, after, stride=2), activation)
        before = after
    anchors = (SIZE[0] // STRIDE) * (SIZE[1] // STRIDE)
    parts = []
    for rows, scale in ((4, 32.0), (len(CLASSES), None)):
        hidden = net.activation(net.convolution(source, before, 16), activation)
        head = net.convolution(hidden, 16, rows, kernel=1)
        flat = net.node("Reshape", head, net.constant(np.array([1, rows, anchors], np.int64)))
        parts.append(net.node("Mul", flat, net.constant(np.float32(scale))) if scale else net.node("Sigmoid", flat))
    return net.model(net.node("Concat", *parts, axis=1), 4 + len(CLASSES), anchors)


def written(model: onnx.ModelProto, folder: Path) -> tuple[Path, Path]:
    """Writes `model.onnx` and `spec.json` of a detection model into a folder; returns their paths."""
    from edgecompile.evaluate.tasks import OutputFacts
    from edgecompile.graphs.onnx.model_spec import spec_of, write_spec

    folder.mkdir(parents=True, exist_ok=True)
    entry, output = model.graph.input[0], model.graph.output[0]
    shapes = [[side.dim_value for side in one.type.tensor_type.shape.dim] for one in (entry, output)]
    spec = spec_of(
        task="detect", names=CLASSES, stride=STRIDE, size=shapes[0][2:], input_name=entry.name, input_shape=shapes[0],
        outputs=[OutputFacts(output.name, tuple(shapes[1]))], decode="yolo",
    )  # fmt: skip
    onnx.save(model, folder / "model.onnx")
    write_spec(spec, folder / "spec.json")
    return folder / "model.onnx", folder / "spec.json"


def nothing_beyond(folder: Path) -> Path:
    """Writes what the check against the range of FP16 says of a model whose numbers all fit; returns its path."""
    path = folder / "beyond.json"
    path.write_text('{"activations": [], "layers": []}')
    return path
