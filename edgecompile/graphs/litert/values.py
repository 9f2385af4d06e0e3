"""What stands for a tensor of the ONNX graph in the LiteRT graph, and a node as a lowering reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecompile.graphs.litert.flatbuffer import Quant


@dataclass(frozen=True)
class Value:
    """A tensor of the LiteRT graph that stands for one of the ONNX graph.

    Attributes:
        tensor: its number.
        order: for each of its axes, which axis of the ONNX tensor it is.
        shape: of the ONNX tensor.
        dtype: of its numbers.
        quant: what whole numbers stand for.
    """

    tensor: int
    order: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    quant: Quant | None = None

    @property
    def laid_out(self) -> tuple[int, ...]:
        """The shape of LiteRT's tensor."""
        return tuple(self.shape[axis] for axis in self.order)


@dataclass(frozen=True)
class Node:
    """A node of the ONNX graph.

    Attributes:
        int8: whether it computes in 8 bits.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    int8: bool
