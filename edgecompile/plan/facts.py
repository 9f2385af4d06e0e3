"""Facts of steps: what their functions return, plain JSON that lies beside the files that they put out."""

from __future__ import annotations

from typing import TypedDict


class GraphFacts(TypedDict, total=False):
    """What a step returns that rewrites, quantizes or compiles a graph.

    changes: what was done, in the words of the report.
    operators: of an ONNX graph, each to how many there are.
    operations: the same of an OpenVINO graph.
    layers: the same of an ncnn graph.
    max_abs_diff: largest difference of the outputs before and after, by part of the output.
    in_float: names of what was left in float.
    excluded: names of ncnn layers that were left in float.
    pictures: how many a quantizer calibrated with.
    """

    changes: list[str]
    operators: dict[str, int]
    operations: dict[str, int]
    layers: dict[str, int]
    max_abs_diff: dict[str, float]
    in_float: list[str]
    excluded: list[str]
    pictures: int


class CalibrationFacts(TypedDict):
    """What a step returns that measured ranges of activations.

    pictures: how many it measured on.
    tensors: how many have a range.
    method: "minmax", "percentile" or "entropy".
    """

    pictures: int
    tensors: int
    method: str


class LayerLoss(TypedDict):
    """One layer of an artifact beside the float model's.

    layer: name of what it puts out.
    precision: that it multiplies in.
    error: length of the difference, as a share of the length of the float numbers; None where it is not finite.
    before: the largest error of the layers that it reads from; 0 where it reads the picture.
    """

    layer: str
    precision: str
    error: float | None
    before: float | None


class LayerLossFacts(TypedDict):
    """What a step returns that compares an artifact with its float model layer by layer, in the order of the graph."""

    layers: list[LayerLoss]
