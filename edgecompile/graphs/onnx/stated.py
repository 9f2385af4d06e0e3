"""What is stated of a foreign model, as a step gets it: keys that nobody stated are not there.

The meaning of each key stands at `edgecompile.graphs.onnx.statement`.
"""

from __future__ import annotations

from typing import TypedDict


class StatedInput(TypedDict, total=False):
    """Parts of `statement.InputStatement`."""

    color: str
    scale: float
    mean: float | list[float]
    std: float | list[float]
    layout: str
    dtype: str
    resize: str
    fill: int
    align: str
    interpolation: str
    shortest: int
    scale_up: bool


class StatedOutputs(TypedDict, total=False):
    """Parts of `statement.OutputStatement`."""

    layout: str
    strides: list[int]
    offset: float
    boxes: str
    unit: str
    activation: str
    background: str
    anchors: list[list[float]]
    anchors_file: str
    variances: list[float]
