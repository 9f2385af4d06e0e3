"""The part of a plan that asks whether a model's numbers fit into FP16. Imports the plan only, as `validation` does."""

from __future__ import annotations

from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Source, Stage, Step

CHECK = "fp16_range"
MOST_PICTURES = 256
"""Of how many validation pictures the ranges are measured, where a recipe names no calibration pictures."""
PERCENTILE = 99.999
"""Default of `int8_static`: with it, its calibration by minimum and maximum and these ranges are one step."""


def needs_fp16_range(graph: Graph, precision: str) -> bool:
    """Whether numbers of a model of that precision become FP16 where it is stored or where it is computed."""
    return precision == "fp16" or graph.target.computes_fp16(precision)


def add_fp16_range(graph: Graph, model: Model, precision: str) -> Output:
    """Adds the steps that measure the activations of a float model and compare them, and its weights, with FP16.

    Adding them twice is fine: a pass that writes FP16 adds them before itself, for it leaves in float what does not
    fit; for every other target `resolve` adds them, and the build ends there.

    Args:
        model: float, in ONNX, as passes leave it: what is fused into convolutions has no range of its own.
        precision: that the artifact will have.

    Returns:
        `beyond.json`: names of the activations that do not fit, and of the nodes whose weights do not.
    """
    target = graph.target
    computes = target.computes_fp16(precision)
    measured = _ranges(graph, model) if computes else None
    graph.add(
        Step(
            name=CHECK,
            function="edgecompile.quantization.fp16_range:check",
            version=2,
            stage=Stage.CALIBRATION,
            params={
                "pictures": measured[1] if measured else "",
                "keeps_float": target.keeps_float,
                "fix": target.fp16_fix if computes else "build in fp32 or int8",
            },
            inputs={"model": model.artifact, **({"ranges": measured[0]} if measured else {})},
            tools=("onnx", "numpy"),
            memory_mb=300,
            about=f"{'activations and weights' if computes else 'weights'} that do not fit into FP16",
        )
    )
    return Output(CHECK, "beyond.json")


def ranges_step(name: str, model: Model, pictures: Source, method: str, percentile: float) -> Step:
    """Returns the step that measures the ranges of the activations of a float ONNX model: `ranges.json`."""
    return Step(
        name=name,
        function="edgecompile.quantization.qdq:calibrate",
        stage=Stage.CALIBRATION,
        version=2,
        params={"method": method, "percentile": percentile},
        inputs={"model": model.artifact, "spec": model.spec, "pictures": pictures},
        tools=("onnxruntime", "onnx", "numpy", "opencv-python-headless"),
        isa=True,
        memory_mb=900,
        about=f"ranges of activations, {method}",
    )


def _ranges(graph: Graph, model: Model) -> tuple[Output, str]:
    """Adds the step that measures the ranges of activations, unless a step of the plan does so already."""
    calibration = graph.materials.calibration
    pictures = calibration or _first(graph.materials.validation)
    step = ranges_step("activation_ranges", model, pictures, "minmax", PERCENTILE)
    step = same_step(graph, step) or graph.add(step)
    return Output(step.name, "ranges.json"), "calibration pictures" if calibration else "validation pictures"


def same_step(graph: Graph, step: Step) -> Step | None:
    """Returns the step of a graph that does what `step` does, whatever it is called."""
    return next((planned for planned in graph.steps.values() if planned and _does_the_same(planned, step)), None)


def _first(pictures: Source) -> Source:
    if len(pictures.paths) <= MOST_PICTURES:
        return pictures
    return Source(f"first {MOST_PICTURES} {pictures.name}", pictures.paths[:MOST_PICTURES], many=True)


def _does_the_same(step: Step, other: Step) -> bool:
    return (step.function, step.version, step.params, step.inputs) == (
        other.function, other.version, other.params, other.inputs,
    )  # fmt: skip
