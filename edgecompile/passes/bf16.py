"""bfloat16: the range of float in half the bits, for CPUs that compute in it, or keep numbers between layers in it."""

from __future__ import annotations

from typing import ClassVar

from edgecompile.errors import PlanError
from edgecompile.passes import Pass
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Stage


class Bf16(Pass):
    """Has the target compute in bfloat16, in its own way: the graph stays float, and the target rounds.

    Nothing is calibrated, and no number is out of range. A number keeps 8 significant bits, where FP16 keeps 11.
    """

    stage: ClassVar[Stage] = Stage.QUANTIZATION
    output_precision: ClassVar[str] = "bf16"

    def lower(self, graph: Graph, model: Model | None) -> Model:
        if model is None or model.precision != "fp32" or model.format != "onnx":
            raise PlanError("'bf16' works on a float ONNX model: put it after the export, alone of its kind")
        return model.with_(precision="bf16")
