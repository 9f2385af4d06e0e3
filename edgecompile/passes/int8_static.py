"""Static INT8: weights and activations in 8 bits, with ranges measured on calibration pictures."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from edgecompile.errors import PlanError
from edgecompile.passes import Pass
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Stage

AUTO = "auto"
ALREADY = "the imported model holds Q/DQ pairs: it is judged and packed as it is"


def _as_word(value: object) -> object:
    """Returns "off" for what YAML makes of the word off, and "auto" for on."""
    return {True: "auto", False: "off"}[value] if isinstance(value, bool) else value


class RepairLimits(BaseModel):
    """How far the search for a repair goes.

    Fields:
        max_slowdown: how many times the time of plain INT8 a repaired artifact may take, estimated; where none within
            that meets the gate, the build says so and ends.
        candidates: most mixes of INT8 and float that are built and judged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    max_slowdown: float = Field(default=1.5, ge=1, le=10)
    candidates: int = Field(default=3, ge=1, le=10)


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
        keep_float: what else stays in float, on whatever runtime: blocks ("/model.2") or nodes of the ONNX graph, or
            patterns of their names. A repair states what it found in this form.
        repair: what happens where INT8 misses a gate on accuracy. "auto" looks for the blocks that lose most and
            leaves them in float; "off" ends the build; a mapping sets the limits of the search.
    """

    stage: ClassVar[Stage] = Stage.QUANTIZATION
    output_precision: ClassVar[str] = "int8"
    calibrates: ClassVar[bool] = True

    method: Literal["minmax", "percentile", "entropy"] = "minmax"
    percentile: float = Field(default=99.999, ge=90, le=100)
    per_channel: bool = True
    symmetric: bool | Literal["auto"] = "auto"
    exclude: Literal["auto"] | tuple[str, ...] = "auto"
    # Locks of before there were these two open as they are.
    keep_float: tuple[str, ...] = Field(default=(), exclude_if=lambda value: value == ())
    repair: Annotated[Literal["auto", "off"] | RepairLimits, BeforeValidator(_as_word)] = Field(
        default="auto", exclude_if=lambda value: value == "auto"
    )

    def lower(self, graph: Graph, model: Model | None) -> Model:
        if model is not None and model.precision == "int8" and model.artifact.step == "onnx_import":
            raise PlanError(f"'int8_static': {ALREADY}", fix="passes.int8_static=null")
        if model is None or model.precision != "fp32":
            raise PlanError("'int8_static' works on a float model: put it after the export, alone of its kind")
        if graph.materials.calibration is None:
            raise PlanError("'int8_static' needs calibration pictures", fix="data: {calibration: {split: train}}")
        return graph.target.quantize(graph, model, self)

    def left_in_float(self) -> dict[str, str | list[str]]:
        """Returns `exclude`, and `keep_float` where it names something, as parameters of a step: plain JSON."""
        exclude = self.exclude if isinstance(self.exclude, str) else list(self.exclude)
        return {"exclude": exclude, **({"keep_float": list(self.keep_float)} if self.keep_float else {})}

    @property
    def repairable(self) -> bool:
        """Whether the search for a repair may say what stays in float: it adds to the decode part, and a list that
        leaves that out was written to see what comes of it."""
        return self.repair != "off" and (self.exclude == AUTO or AUTO in self.exclude)

    @property
    def repair_limits(self) -> RepairLimits:
        """The limits of the search."""
        return self.repair if isinstance(self.repair, RepairLimits) else RepairLimits()
