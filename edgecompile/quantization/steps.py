"""The steps of static INT8 for all runtimes that read Q/DQ pairs: ranges from pictures, then the pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgecompile.plan.fp16_range_steps import ranges_step
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step

if TYPE_CHECKING:
    from edgecompile.quantization.qdq import Placement


def add_static(graph: Graph, model: Model, settings: Any, placement: Placement, about: str) -> Model:
    """Adds calibration and quantization, and returns the model in INT8. One calibration serves every placement.

    Args:
        settings: an `Int8Static`.
        placement: the Q/DQ profile of the target.
        about: one line for the plan: where the pairs stand.
    """
    graph.add(ranges_step("calibration", model, graph.calibration, settings.method, settings.percentile))
    graph.add(
        Step(
            name="quantization",
            function="edgecompile.quantization.qdq:quantize",
            version=3,
            stage=Stage.QUANTIZATION,
            params={"placement": placement, **settings.left_in_float()},
            inputs={"model": model.artifact, "ranges": Output("calibration", "ranges.json")},
            tools=("onnxruntime", "onnx", "numpy"),
            memory_mb=600,
            about=about,
        )
    )
    return model.with_(artifact=Output("quantization", "model.onnx"), precision="int8")
