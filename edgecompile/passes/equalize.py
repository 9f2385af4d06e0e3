"""Evens out the ranges of channels between layers, so that INT8 loses less, without changing a bit in float."""

from __future__ import annotations

from typing import ClassVar

from edgecompile.errors import PlanError
from edgecompile.passes import Pass
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Source, Stage, Step

PICTURES = 8
"""Of how many calibration pictures, the first, ranges are taken and the proof is made."""


class Equalize(Pass):
    """Scales channels between layers by powers of two, by what calibration pictures show. It has no fields."""

    stage: ClassVar[Stage] = Stage.FUSION

    def lower(self, graph: Graph, model: Model | None) -> Model:
        if model is None or model.format != "onnx" or model.precision != "fp32":
            raise PlanError("'equalize' works on a float ONNX graph: put it after the export and before quantization")
        pictures = graph.materials.calibration
        inputs = {"pictures": _first(pictures)} if pictures else {}
        graph.add(
            Step(
                name="equalize",
                function="edgecompile.quantization.equalization:equalize",
                stage=Stage.FUSION,
                inputs={"model": model.artifact, "spec": model.spec, **inputs},
                tools=("onnx", "onnxruntime", "numpy", "opencv-python-headless"),
                isa=True,
                memory_mb=700,
                about="channels between layers scaled by powers of two, equal to the last bit in float",
            )
        )
        return model.with_(artifact=Output("equalize", "model.onnx"))


def _first(pictures: Source) -> Source:
    if len(pictures.paths) <= PICTURES:
        return pictures
    return Source(f"first {PICTURES} {pictures.name}", pictures.paths[:PICTURES], many=True)
