"""Adding nodes behind the first output of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Behind:
    """Adds nodes behind the first output, and makes of the last tensor the output.

    Attributes:
        result: name of the first output as it is.
        shape: of that output, as far as it is stated: numbers, names of open axes, or None.
        is_float32: whether it is of that type.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self.result = model.graph.output[0].name
        kind = model.graph.output[0].type.tensor_type
        self.shape = [axis.dim_value or axis.dim_param or None for axis in kind.shape.dim]
        self.is_float32 = kind.elem_type == onnx.TensorProto.FLOAT
        taken = {name for node in self._graph.node for name in (*node.input, *node.output)}
        taken |= {value.name for value in (*self._graph.input, *self._graph.initializer, *self._graph.output)}
        self._taken = taken | {node.name for node in self._graph.node}

    def add(self, operator: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Adds a node and returns the names of its outputs."""
        names = [self._free(f"boxes_{operator.lower()}") for _ in range(outputs)]
        node = helper.make_node(operator, inputs, names, name=self._free(f"boxes/{operator}"), **attributes)
        self._graph.node.append(node)
        return names

    def constant(self, values: Sequence[int]) -> str:
        """Adds whole numbers and returns their name."""
        name = self._free("boxes_constant")
        self._graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def put_out(self, name: str, shape: Sequence[int | str | None] = (None, None, None)) -> None:
        """Makes a float32 tensor the first output."""
        entry = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        self._graph.output[0].CopyFrom(entry)

    def _free(self, base: str) -> str:
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name
