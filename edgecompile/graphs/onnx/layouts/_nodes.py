"""Adding nodes to a graph: in front of it, or behind its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT32, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


class Builder:
    """Adds nodes whose names, and those of their tensors, are not taken.

    Attributes:
        nodes: those added, in order; `close` puts them into the graph.
    """

    def __init__(self, model: onnx.ModelProto, prefix: str) -> None:
        self.model = model
        self.nodes: list[onnx.NodeProto] = []
        self._prefix = prefix
        graph = model.graph
        taken = {name for node in graph.node for name in (*node.input, *node.output)}
        taken |= {value.name for value in (*graph.input, *graph.initializer, *graph.output)}
        self._taken = taken | {node.name for node in graph.node}

    def add(self, operator: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Adds a node and returns the names of its outputs."""
        names = [self._free(f"{self._prefix}_{operator.lower()}") for _ in range(outputs)]
        name = self._free(f"{self._prefix}/{operator}")
        self.nodes.append(helper.make_node(operator, inputs, names, name=name, **attributes))
        return names

    def one(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of one output and returns its name."""
        return self.add(operator, inputs, **attributes)[0]

    def constant(self, values: Any) -> str:
        """Adds whole numbers (int64) and returns their name."""
        return self._stored(np.asarray(values, np.int64))

    def numbers(self, values: Any) -> str:
        """Adds float32 numbers and returns their name."""
        return self._stored(np.asarray(values, np.float32))

    def _stored(self, values: np.ndarray) -> str:
        name = self._free(f"{self._prefix}_constant")
        self.model.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def _free(self, base: str) -> str:
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name


class Behind(Builder):
    """Adds nodes behind the outputs of a graph.

    Attributes:
        outputs: names of the outputs that a layout reads, in its order, float32 once `as_floats` ran.
    """

    def __init__(self, model: onnx.ModelProto, outputs: Sequence[str]) -> None:
        super().__init__(model, "boxes")
        self.outputs = list(outputs)

    def input_side(self, axis: int) -> str:
        """Returns the length of an axis of the only input, (1,) int64."""
        return self.one("Gather", self.one("Shape", self.model.graph.input[0].name), self.constant([axis]), axis=0)

    def as_floats(self) -> None:
        """Casts the outputs that are read and are not float32."""
        kinds = {value.name: value.type.tensor_type.elem_type for value in self.model.graph.output}
        self.outputs = [name if kinds[name] == FLOAT32 else self.one("Cast", name, to=FLOAT32) for name in self.outputs]

    def batched(self, name: str, shape: Sequence[int], axes: int) -> str:
        """Returns a tensor of `axes` axes; where it has one less, a batch of one picture is put before it."""
        return name if len(shape) == axes else self.one("Unsqueeze", name, self.constant([0]))

    def split(self, name: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Returns the parts of a tensor along an axis."""
        return self.add("Split", [name, self.constant(sizes)], outputs=len(sizes), axis=axis)

    def joined(self, names: Sequence[str], axis: int) -> str:
        """Returns tensors one behind the other along an axis."""
        return names[0] if len(names) == 1 else self.one("Concat", *names, axis=axis)

    def activated(self, scores: str, activation: str | None, axis: int) -> str:
        """Returns scores 0..1 of classes along an axis."""
        if activation == "softmax":
            return self.one("Softmax", scores, axis=axis)
        return self.one("Sigmoid", scores) if activation == "sigmoid" else scores

    def without_background(self, scores: str, background: str | None, classes: int, axis: int) -> str:
        """Returns the scores of classes without the column that is none."""
        if background in (None, "none"):
            return scores
        first = 1 if background == "first" else 0
        return self.one(
            "Slice", scores, self.constant([first]), self.constant([first + classes]), self.constant([axis])
        )

    def put_out(self, name: str, axes: int) -> None:
        """Makes a float32 tensor of `axes` axes the only output, and closes."""
        graph = self.model.graph
        graph.node.extend(self.nodes)
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info(name, FLOAT32, [None] * axes))
