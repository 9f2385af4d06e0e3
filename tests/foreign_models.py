"""Models as others make them, derived from the exported sample: small edits of a real detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from exported import exported
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 3, 192, 256)
ANCHORS, CLASSES = 1008, 3


def sample() -> onnx.ModelProto:
    """Returns the sample: input `images`, output `output0` (1, 7, 1008)."""
    return onnx.load_model_from_string(exported().model.read_bytes())


def written(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def noted(model: onnx.ModelProto, **notes: str) -> onnx.ModelProto:
    helper.set_model_props(model, notes)
    return model


def behind(build: Callable[[Callable[..., str]], str], shape: list[int] | None = None) -> onnx.ModelProto:
    """Returns the sample with nodes behind its output.

    Args:
        build: is given a function (operator, inputs, **attributes) that adds a node and returns its output, and which
            makes a constant of an array; returns the name of the tensor that becomes the output.
        shape: of the output.
    """
    model = sample()
    count = 0

    def add(operator: str | np.ndarray, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        nonlocal count
        count += 1
        if isinstance(operator, np.ndarray):
            model.graph.initializer.append(numpy_helper.from_array(operator, f"constant_{count}"))
            return f"constant_{count}"
        names = [f"added_{count}_{number}" for number in range(outputs)]
        model.graph.node.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    last = build(add)
    entry = helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)
    model.graph.output[0].CopyFrom(entry)
    return model


def rows_with_objectness(classes: int = CLASSES) -> onnx.ModelProto:
    """As YOLOv5: rows of box, objectness and class scores, whose products are the scores of the sample."""

    def build(add: Callable[..., Any]) -> str:
        sizes = [4, classes, *([CLASSES - classes] if classes < CLASSES else [])]
        box, scores, *_ = add("Split", "output0", add(np.array(sizes)), outputs=len(sizes), axis=1)
        best = add("Max", add("ReduceMax", scores, add(np.array([1])), keepdims=1), add(np.array([1e-30], np.float32)))
        largest = add("Sqrt", best)
        rest = add("Div", scores, largest)
        return add("Transpose", add("Concat", box, largest, rest, axis=1), perm=[0, 2, 1])

    return behind(build, [1, ANCHORS, 5 + classes])


def yolo_rows() -> onnx.ModelProto:
    return behind(lambda add: add("Transpose", "output0", perm=[0, 2, 1]), [1, ANCHORS, 4 + CLASSES])


def suppressed(boxes: int = 50) -> onnx.ModelProto:
    """As a head without suppression: the rows x1 y1 x2 y2 score class of the best anchors."""

    def build(add: Callable[..., Any]) -> str:
        centre, size, scores = add("Split", "output0", add(np.array([2, 2, CLASSES])), outputs=3, axis=1)
        half = add("Mul", size, add(np.array(0.5, np.float32)))
        best = add("ReduceMax", scores, add(np.array([1])), keepdims=1)
        number = add("Cast", add("ArgMax", scores, axis=1, keepdims=1), to=TensorProto.FLOAT)
        corners = [add("Sub", centre, half), add("Add", centre, half)]
        rows = add("Transpose", add("Concat", *corners, best, number, axis=1), perm=[0, 2, 1])
        _, order = add("TopK", add("Transpose", best, perm=[0, 2, 1]), add(np.array([boxes])), outputs=2, axis=1)
        return add("GatherElements", rows, add("Expand", order, add(np.array([1, boxes, 6]))), axis=1)

    return behind(build, [1, boxes, 6])


def scaled_boxes(factor: float) -> onnx.ModelProto:
    """The boxes of the sample times a factor."""
    factors = np.array([factor] * 4 + [1.0] * CLASSES, np.float32).reshape(1, -1, 1)
    return behind(lambda add: add("Mul", "output0", add(factors)), [1, 4 + CLASSES, ANCHORS])


def corners() -> onnx.ModelProto:
    """The sample with corners in place of centre and size."""

    def build(add: Callable[..., Any]) -> str:
        centre, size, scores = add("Split", "output0", add(np.array([2, 2, CLASSES])), outputs=3, axis=1)
        half = add("Mul", size, add(np.array(0.5, np.float32)))
        return add("Concat", add("Sub", centre, half), add("Add", centre, half), scores, axis=1)

    return behind(build, [1, 4 + CLASSES, ANCHORS])


def logits() -> onnx.ModelProto:
    """The sample without the sigmoid of its scores."""

    def build(add: Callable[..., Any]) -> str:
        box, scores = add("Split", "output0", add(np.array([4, CLASSES])), outputs=2, axis=1)
        odds = add("Div", scores, add("Sub", add(np.array(1.0001, np.float32)), scores))
        return add("Concat", box, add("Log", add("Add", odds, add(np.array(1e-9, np.float32)))), axis=1)

    return behind(build, [1, 4 + CLASSES, ANCHORS])


def in_operator_set_11() -> onnx.ModelProto:
    """The sample as an exporter of 2020 writes it: operator set 11, sizes and axes as attributes, weights among inputs.

    Softmax over all but the first axes was flat then: the scores are those of the sample, the boxes are not.
    """
    model = sample()
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    constants = {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    newer = {"Split": {"num_outputs"}, "Reshape": {"allowzero"}}
    newer["Resize"] = {"antialias", "keep_aspect_ratio_policy", "axes"}
    for node in model.graph.node:
        kept = [one for one in node.attribute if one.name not in newer.get(node.op_type, set())]
        del node.attribute[:]
        node.attribute.extend(kept)
        if node.op_type in ("Split", "Unsqueeze", "Squeeze") and len(node.input) > 1:
            sizes = numpy_helper.to_array(weights.get(node.input[1]) or constants[node.input[1]])
            del node.input[1:]
            name = "split" if node.op_type == "Split" else "axes"
            node.attribute.append(helper.make_attribute(name, [int(one) for one in sizes]))
        if node.op_type == "Resize" and node.input[1] == "":
            model.graph.initializer.append(numpy_helper.from_array(np.zeros(0, np.float32), f"{node.output[0]}_roi"))
            node.input[1] = f"{node.output[0]}_roi"
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    del model.graph.value_info[:]
    model.opset_import[0].version, model.ir_version = 11, 3
    return model


def before(model: onnx.ModelProto, build: Callable[[str], list[onnx.NodeProto]]) -> onnx.ModelProto:
    """Puts nodes between the input and the net, in place; the last one's first output is what the net reads."""
    name = model.graph.input[0].name
    nodes = build(name)
    for node in model.graph.node:
        node.input[:] = [nodes[-1].output[0] if one == name else one for one in node.input]
    for position, node in enumerate(nodes):
        model.graph.node.insert(position, node)
    return model


def constant(model: onnx.ModelProto, name: str, value: Any) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name
