"""Static INT8: weights and activations in 8 bits, with ranges measured on calibration pictures."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from edgecompile.errors import PlanError
from edgecompile.passes import Pass
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Stage

ALREADY = "the imported model holds Q/DQ pairs: it is judged and packed as it is"


class Int8Static(Pass):
    """Quantizes the model as the target's runtime wants it.

    Fields:
        method: how the range of an activation follows from its values. "minmax" keeps all of them; "percentile" cuts
            the rarest off; "entropy" cuts where least information is lost, and only what also halves the error.
        percentile: share of the values, in percent, that "percentile" keeps.
        per_channel: whether each output channel of a weight has a scale of its own.
        symmetric: whether zero stands in the middle of the range of an activation; "auto" leaves it to the target.
        exclude: what stays in float. "auto" is the decode part of the head, where boxes in pixels and scores meet in
            one tensor. A list of patterns (glob or regular expression of node names) replaces it, "auto" may stand
            among them; an empty list quantizes the whole graph, which no detection model survives.
    """

    stage: ClassVar[Stage] = Stage.QUANTIZATION
    output_precision: ClassVar[str] = "int8"
    calibrates: ClassVar[bool] = True

    method: Literal["minmax", "percentile", "entropy"] = "minmax"
    percentile: float = Field(default=99.999, ge=90, le=100)
    per_channel: bool = True
    symmetric: bool | Literal["auto"] = "auto"
    exclude: Literal["auto"] | tuple[str, ...] = "auto"

    def lower(self, graph: Graph, model: Model | None) -> Model:
        if model is not None and model.precision == "int8" and model.artifact.step == "onnx_import":
            raise PlanError(f"'int8_static': {ALREADY}", fix="passes.int8_static=null")
        if model is None or model.precision != "fp32":
            raise PlanError("'int8_static' works on a float model: put it after the export, alone of its kind")
        if graph.materials.calibration is None:
            raise PlanError("'int8_static' needs calibration pictures", fix="data: {calibration: {split: train}}")
        return graph.target.quantize(graph, model, self)

    def excluded(self) -> str | list[str]:
        """Returns `exclude` as a parameter of a step: plain JSON."""
        return self.exclude if isinstance(self.exclude, str) else list(self.exclude)
