"""The step that compares an artifact with its float model layer by layer, for the page of a run. It is in no plan, for
no bundle depends on it: a build adds it when all else is known. Imports the plan only, as `validation` does."""

from __future__ import annotations

from edgecompile.plan.graph import Plan
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.plan.validation import REFERENCE

LAYER_LOSS = "layer_loss"
READERS = {"onnx": (), "openvino": ("openvino",)}
"""Formats whose layers keep their names, to what reads them beside ONNX Runtime."""
FLOATS = ("fp32", "fp64")


def why_none(plan: Plan) -> str:
    """Returns why layers of an artifact are not compared; "" where they are."""
    result = plan.result
    if result.format not in READERS:
        return f"the artifact is a network of {result.format}, whose layers have other names than the float model's"
    if result.precision in FLOATS:
        return f"the artifact is in {result.precision}, as its float model"
    return ""


def layer_loss_step(plan: Plan) -> Step:
    """Returns the step, where `why_none` has no reason against it."""
    reference = plan[REFERENCE].inputs
    return Step(
        name=LAYER_LOSS,
        function="edgecompile.quantization.layer_loss:compare",
        stage=Stage.VALIDATION,
        inputs={
            "artifact": plan.result.artifact,
            "spec": plan.result.spec,
            "reference": reference["artifact"],
            "reference_spec": reference["spec"],
            "golden": Output("golden"),
        },
        tools=("onnxruntime", "onnx", "numpy", "opencv-python-headless", *READERS[plan.result.format]),
        isa=True,
        memory_mb=600,
        about="distance of each layer from the float model's, on the golden picture",
    )
