"""The validation part of a plan."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from edgecompile.plan.graph import Graph, Materials, Model
from edgecompile.plan.step import Output, Source, Stage, Step
from edgecompile.plan.validation import add_validation


def planned(
    artifact_step: str = "compile",
    backend: str = "openvino",
    proxy_backend: tuple | None = None,
    precision: str = "fp32",
    asked: tuple[str, ...] = (),
):
    target = SimpleNamespace(
        backend=backend,
        runtime=(backend, ">=1"),
        threads=4,
        arch="x86_64",
        memory_mb=8192,
        options=lambda: {} if backend == "onnxruntime" else {"INFERENCE_PRECISION_HINT": "f32"},
        options_for=lambda precision: {} if backend == "onnxruntime" else {"INFERENCE_PRECISION_HINT": "f32"},
        proxy_backend=lambda: proxy_backend,
        computes_fp16=lambda precision: False,
        opens_onnx=backend in ("onnxruntime", "openvino"),
    )
    settings = SimpleNamespace(conf=0.001, iou=0.7, max_det=300, latency_images=100)
    pictures = Source("validation pictures", ("/data/1.jpg",), many=True)
    materials = Materials(
        Source("weights", ("/data/w.pt",)), None, pictures, Source("labels", ("/data/1.txt",), many=True), ("a", "b")
    )
    measurement = SimpleNamespace(tolerance=0.03, seconds=10.0, max_age_days=7.0)
    recipe = SimpleNamespace(
        target=target, evaluate=settings, measurement=measurement, asks_for=lambda figure: figure in asked
    )
    graph = Graph(recipe, materials)
    for name in {"export", artifact_step}:
        graph.add(Step(name=name, function="some.module:function", stage=Stage.EXPORT))
    models = [Model(Output(name, "model.onnx"), Output(name, "spec.json")) for name in (artifact_step, "export")]
    return graph, add_validation(graph, models[0].with_(precision=precision), models[1])


def test_streams_are_measured_where_a_gate_or_an_objective_reads_them():
    """So recipes that do not ask keep the key of their measurement."""
    assert "stream_seconds" not in planned()[0].steps["measure"].params
    assert planned(asked=("stream_fps",))[0].steps["measure"].params["stream_seconds"] > 0


def test_both_models_are_evaluated_in_the_same_way():
    graph, outputs = planned()
    assert set(outputs) == {"coverage", "reference.evaluate", "evaluate", "paired", "distance", "golden", "measure"}
    reference, artifact = graph.steps["reference.evaluate"], graph.steps["evaluate"]
    assert reference.function == artifact.function
    assert reference.inputs["pictures"] == artifact.inputs["pictures"]
    for step in (reference, artifact):
        assert step.params["settings"] == {"conf": 0.001, "iou": 0.7, "max_det": 300}
    assert reference.params["threads"] == artifact.params["threads"]
    assert (reference.params["backend"], artifact.params["backend"]) == ("onnxruntime", "openvino")
    assert reference.params["threads"] == 1


def test_a_stand_in_judges_accuracy_and_leaves_latency_to_the_device():
    graph, outputs = planned(
        backend="tensorrt", proxy_backend=("onnxruntime", "onnxruntime", {"log_severity_level": 2})
    )
    assert set(outputs) == {"coverage", "reference.evaluate", "evaluate", "paired", "distance", "golden"}
    for name in ("evaluate", "golden"):
        assert graph.steps[name].params["backend"] == "onnxruntime"
        assert graph.steps[name].params["options"] == {"log_severity_level": 2}
        assert "onnxruntime" in graph.steps[name].tools


def test_a_float_artifact_for_the_same_runtime_is_evaluated_once():
    """Name apart, the two steps are equal, so they have one key and one result."""
    graph, _ = planned(artifact_step="export", backend="onnxruntime")
    reference, artifact = graph.steps["reference.evaluate"], graph.steps["evaluate"]
    assert (reference.function, reference.params, reference.inputs, reference.tools, reference.version) == (
        artifact.function,
        artifact.params,
        artifact.inputs,
        artifact.tools,
        artifact.version,
    )


@pytest.mark.parametrize(("backend", "beside"), [("openvino", "openvino"), ("ncnn", "onnxruntime")])
def test_an_artifact_that_is_not_float_is_measured_in_turns_with_float(backend, beside):
    graph, _ = planned("compile", backend, precision="int8")
    measure = graph.steps["measure"]
    assert measure.inputs["reference"] == Output("export", "model.onnx")
    assert (measure.params["reference_run"]["backend"], measure.params["reference_run"]["precision"]) == (
        beside,
        "fp32",
    )
    assert beside in measure.tools
    plain, _ = planned(backend=backend)
    assert "reference" not in plain.steps["measure"].inputs


def test_only_the_measurement_depends_on_the_machine():
    graph, _ = planned()
    assert [name for name, step in graph.steps.items() if step.measured] == ["measure"]
    assert graph.steps["measure"].params["threads"] == 4
    assert all(
        step.stage is Stage.VALIDATION for name, step in graph.steps.items() if name not in ("export", "compile")
    )


@pytest.mark.parametrize(
    "name", ["coverage", "reference.evaluate", "evaluate", "paired", "distance", "golden", "measure"]
)
def test_functions_take_what_the_steps_give(name):
    """A step calls its function by keyword: names and parameters must fit."""
    import importlib
    import inspect

    graph, _ = planned()
    step = graph.steps[name]
    module, function = step.function.split(":")
    signature = inspect.signature(getattr(importlib.import_module(module), function))
    signature.bind("out", **step.inputs, **step.params)


def test_planning_imports_no_numpy():
    """`plan` and a cached `build` stay quick."""
    script = (
        "import sys, edgecompile.plan.validation; sys.exit(sorted({'numpy', 'cv2', 'torch'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
