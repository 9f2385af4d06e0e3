"""Nodes of an ONNX graph that is written here, one after the other, each named by its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


class NodeList:
    """Collects nodes and constants.

    Attributes:
        nodes: in the order in which they were added.
        constants: what they read beside each other.
    """

    def __init__(self, operator_set: int, prefix: str, constants: list[onnx.TensorProto] | None = None) -> None:
        """Begins a graph.

        Args:
            prefix: the first part of every name.
            constants: of the graph around this one, which takes those that are added.
        """
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = [] if constants is None else constants
        self._operator_set, self._prefix = operator_set, prefix

    def within(self, name: str) -> NodeList:
        """Begins a graph inside this one, which can read all that was added here before it."""
        return NodeList(self._operator_set, f"{self._prefix}/{name}", self.constants)

    def put(self, node: onnx.NodeProto) -> None:
        self.nodes.append(node)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of one output and returns the name of that."""
        return self.split(operator, *inputs, outputs=1, **attributes)[0]

    def split(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Adds a node and returns the names of its outputs."""
        name = f"{self._prefix}/{operator}_{len(self.nodes)}"
        names = [f"{name}:{number}" for number in range(outputs)]
        self.put(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return names

    def constant(self, value: np.ndarray) -> str:
        name = f"{self._prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def whole(self, *values: int) -> str:
        """Adds whole numbers, (count,) int64."""
        return self.constant(np.array(values, np.int64))

    def parts(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Splits a tensor along an axis into parts of some sizes; sizes of 0 are left out."""
        sizes = [size for size in sizes if size]
        return self.split("Split", value, self.whole(*sizes), outputs=len(sizes), axis=axis)

    def largest(self, value: str, axis: int) -> str:
        """Returns the largest values along an axis, which stays with a length of 1."""
        if self._operator_set < 18:
            return self.add("ReduceMax", value, axes=[axis], keepdims=1)
        return self.add("ReduceMax", value, self.whole(axis), keepdims=1)

    def side(self, value: str, axis: int) -> str:
        """Returns the length of an axis, (1,) int64."""
        return self.add("Gather", self.add("Shape", value), self.whole(axis), axis=0)

    def reshape(self, value: str, *shape: int) -> str:
        return self.add("Reshape", value, self.whole(*shape))
