"""The part of a plan that asks which blocks lose most in INT8, where a gate on accuracy is not met, or where the verb
`sensitivity` asks. Imports the plan only, as `validation` does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgecompile.evaluate.gates import limits_accuracy
from edgecompile.evaluate.tasks import find_task
from edgecompile.plan.fp16_range_steps import ranges_step, same_step
from edgecompile.plan.graph import Graph, Model, Request
from edgecompile.plan.step import Output, Source, Stage, Step

SENSITIVITY, LAYERS = "sensitivity", "sensitivity.layers"
"""Names of the steps that rank blocks, and that rank every layer as well."""
PICTURES = 64
"""Of how many calibration pictures, the first, ranges are measured for a runtime whose quantizer measures its own."""


def sensitivity_steps(graph: Graph, model: Model, settings: Any, *, every_layer: bool = False) -> tuple[Step, ...]:
    """Returns the steps that rank the parts of a float model and are not in the graph yet; none for a target whose INT8
    cannot be simulated.

    Args:
        graph: with all steps of the build.
        model: the float model that is quantized.
        settings: an `Int8Static`.
        every_layer: whether the step that ranks every layer is wanted.
    """
    placement = graph.target.simulated_placement(settings)
    if placement is None or graph.materials.calibration is None:
        return ()
    pictures = graph.materials.calibration
    ranges = ranges_step("calibration", model, pictures, settings.method, settings.percentile)
    existing = same_step(graph, ranges)
    if existing is None:
        ranges = ranges_step("simulated_ranges", model, _first(pictures), "minmax", settings.percentile)
    step = Step(
        name=LAYERS if every_layer else SENSITIVITY,
        function="edgecompile.quantization.loss_ranking:rank",
        version=4,
        stage=Stage.QUANTIZATION,
        params={"placement": placement, "every_layer": every_layer, **settings.left_in_float()},
        inputs={
            "model": model.artifact,
            "spec": model.spec,
            "pictures": pictures,
            "ranges": Output((existing or ranges).name, "ranges.json"),
        },
        tools=("onnxruntime", "onnx", "numpy", "opencv-python-headless"),
        isa=True,
        memory_mb=900,
        about=f"which {'layers' if every_layer else 'blocks'} lose most in INT8, simulated",
    )
    return (step,) if existing else (ranges, step)


def repair_steps(graph: Graph, model: Model | None) -> tuple[Step, ...]:
    """Returns the steps of the ranking by which INT8 would be repaired; none where nothing asks for that.

    Args:
        graph: with all steps of the build.
        model: the last float model, in ONNX; None where there is none.
    """
    settings = quantizer_of(graph.recipe)
    if settings is None or not settings.repairable or not limits_accuracy(graph.recipe.gates, find_task(graph.task)):
        return ()
    return sensitivity_steps(graph, model, settings) if model is not None and model.format == "onnx" else ()


def quantizer_of(recipe: Request) -> Any:
    """Returns the pass of a recipe that calibrates and quantizes, and can be told what stays in float; None where there
    is none."""
    return next((pass_ for pass_ in recipe.ordered_passes() if hasattr(pass_, "keep_float")), None)


def _first(pictures: Source) -> Source:
    if len(pictures.paths) <= PICTURES:
        return pictures
    return replace(pictures, name=f"first {PICTURES} {pictures.name}", paths=pictures.paths[:PICTURES])
