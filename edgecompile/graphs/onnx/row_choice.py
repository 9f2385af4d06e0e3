"""Rows of objects that a model puts out, and a choice among them, as tensors of a graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecompile.graphs.onnx.node_list import INT64, NodeList

RAW = "raw"
"""Name of the input of a graph of post-processing: the rows of a model."""


@dataclass(frozen=True)
class Rows:
    """The output of a model that holds rows of objects.

    Attributes:
        decode: "yolo" or "end2end", see `edgecompile.runtime.tasks._object_rows.ObjectRows`; "rotated" for "yolo" whose
            boxes are centre, size and, as the only extra, the angle in radians.
        shape: (n, values, anchors) of "yolo" and "rotated", (n, boxes, values) of "end2end"; -1 for what may change.
        classes: how many there are.
        extras: how many values of a row belong to the task alone.
        class_agnostic: whether boxes of different classes may drop each other.
    """

    decode: str
    shape: tuple[int, ...]
    classes: int
    extras: int
    class_agnostic: bool = False


@dataclass(frozen=True)
class ChosenRows:
    """What was chosen of each picture, and the numbers to choose from.

    Attributes:
        index: (n, max_det) int64, into `values`: the chosen rows, best first, and anything behind them.
        counts: (n, 1) int64, how many rows were chosen.
        values: output to the numbers of all rows of all pictures, (n * rows, ...).
    """

    index: str
    counts: str
    values: dict[str, str]


def count_true(nodes: NodeList, true: str) -> str:
    """Returns how many values of each row of (n, values) are true, (n, 1) int64."""
    return nodes.add("ReduceSum", nodes.add("Cast", true, to=INT64), nodes.whole(1), keepdims=1)


def numbers_of_pictures(nodes: NodeList) -> str:
    """Returns the number of each picture of `RAW`, (n, 1) int64."""
    return nodes.reshape(numbers_to(nodes, nodes.side(RAW, 0)), -1, 1)


def numbers_to(nodes: NodeList, count: str) -> str:
    """Returns 0, 1, ... up to a count of shape (1,), (count,) int64."""
    first, step = (nodes.constant(np.array(value, np.int64)) for value in (0, 1))
    return nodes.add("Range", first, nodes.add("Squeeze", count, nodes.whole(0)), step)
