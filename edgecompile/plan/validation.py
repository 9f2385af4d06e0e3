"""The validation part of every plan. Imports the plan only: the functions named here are imported by their workers."""

from __future__ import annotations

from typing import Any

from edgecompile.evaluate.tasks import find_task
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.runtime.stream_rate import SECONDS

REFERENCE_BACKEND = ("onnxruntime", "onnxruntime")
"""Backend and distribution that run the float reference: the same for all devices, which so share its evaluation."""

REFERENCE = "reference.evaluate"
"""Name of the step that evaluates the float model."""

COUNTED = {
    "onnx": ("onnxruntime", "onnx", "numpy"),
    "openvino": ("openvino",),
    "ncnn": ("ncnn", "numpy"),
    "litert": ("ai-edge-litert",),
}
"""Formats of artifacts whose layers are counted by precision, and the distributions that count them."""

DAY_S = 86_400

READERS = ("numpy", "opencv-python-headless")
"""Distributions that prepare pictures and boxes, and so have a say in every figure."""


def add_validation(
    graph: Graph, artifact: Model, reference: Model, plain: Model | None = None, floating: Model | None = None
) -> dict[str, Output]:
    """Adds the steps that judge the artifact against the float model on the same pictures.

    Accuracy is evaluated with one thread, so that every machine of one instruction set sums in one order; latency with
    the threads of the target. Where the device's own backend cannot run here, the target's proxy backend judges
    accuracy, and latency is left to the device.

    Args:
        plain: the artifact without the post-processing that passes have built into it, where they have. Its layers are
            counted, since nothing that is learned was added. Accuracy is evaluated on it, by the thresholds of an
            evaluation, which lie far below those of a prediction; and the results of the artifact are proven equal to
            those of the runtime on what `plain` puts out.
        floating: the last float model in ONNX, of which an artifact in bfloat16 was compiled. Where the target's
            kernels round to it, a graph that rounds too is evaluated, the same on every machine that builds.

    Returns:
        the folder of each step's output by the step's name: `coverage` (of an artifact in a known format),
        `reference.evaluate`, `evaluate`, `paired`, `distance`, `golden`, without a proxy backend `measure`, and with
        `plain` `same_results`.
    """
    target = graph.target
    proxy_backend = target.proxy_backend()
    own = target.options_for(artifact.precision)
    backend, distribution, options = proxy_backend or (target.backend, target.runtime[0], own)
    coverage = [_coverage(graph, plain or artifact)] if artifact.format in COUNTED else []
    baseline = _evaluate(graph, REFERENCE, reference, *REFERENCE_BACKEND, {}, "the float model")
    judged, whole = plain or artifact, artifact
    if proxy_backend and artifact.format == "onnx" and target.computes_fp16(artifact.precision):
        judged = _simulated(graph, "fp16_simulation", judged)
        whole = _simulated(graph, "fp16_simulation.whole", artifact) if plain else judged
    if artifact.precision == "bf16" and target.rounds_to_bf16 and floating is not None:
        compared = _rounding(graph, floating)
        evaluated = _evaluate(graph, "evaluate", compared, *REFERENCE_BACKEND, {}, "the artifact", artifact)
    else:
        compared = judged
        evaluated = _evaluate(graph, "evaluate", judged, backend, distribution, options, "the artifact", artifact)
    distance = Step(
        name="distance",
        function="edgecompile.evaluate.distance:compare",
        stage=Stage.VALIDATION,
        inputs={"reference": Output(baseline.name), "artifact": Output(evaluated.name), "spec": compared.spec},
        tools=("numpy",),
        isa=True,
        memory_mb=300,
        about="distance of the raw outputs from those of the float model",
    )
    paired = Step(
        name="paired",
        function="edgecompile.evaluate.paired_comparison:compare",
        stage=Stage.VALIDATION,
        params={"settings": _settings(graph)},
        inputs={"reference": Output(baseline.name), "artifact": Output(evaluated.name), "spec": compared.spec},
        tools=("numpy",),
        isa=True,
        memory_mb=600,
        about="standard error of the accuracy drop, and what became of scores, picture by picture",
    )
    golden = Step(
        name="golden",
        function="edgecompile.evaluate.golden_vectors:golden",
        version=3,
        stage=Stage.VALIDATION,
        params={"backend": backend, "options": options, "threads": 1, "precision": artifact.precision},
        inputs={
            "artifact": whole.artifact,
            "spec": artifact.spec,
            "pictures": graph.materials.validation,
            "evaluation": Output(evaluated.name),
        },
        tools=(distribution, *READERS),
        isa=True,
        about="input and outputs by which a device proves that it runs the artifact as this machine did",
    )
    run = {"backend": backend, "options": options, "threads": 1}
    same = [_same_results(judged, whole, graph, run, distribution)] if plain else []
    measure = [] if proxy_backend else [_measure(graph, artifact, reference)]  # a proxy's latency says nothing
    steps = [paired, distance, *same, golden, *measure]
    for step in steps:
        graph.add(step)
    return {step.name: Output(step.name) for step in (*coverage, baseline, evaluated, *steps)}


def _measure(graph: Graph, artifact: Model, reference: Model) -> Step:
    """Returns the step that measures the artifact; one that is not float itself in turns with the float model."""
    target, settings = graph.target, graph.recipe.measurement
    backend, distribution = target.backend, target.runtime[0]
    options = target.options_for(artifact.precision)
    twin: dict[str, Any] = {}
    beside: dict[str, Output] = {}
    float_backend, float_library, float_options = (
        (backend, distribution, target.options()) if target.opens_onnx else (*REFERENCE_BACKEND, {})
    )
    if artifact.precision != reference.precision:
        run = {"backend": float_backend, "options": float_options, "precision": reference.precision}
        twin = {"reference_run": run}
        beside = {"reference": reference.artifact, "reference_spec": reference.spec}
    return Step(
        name="measure",
        function="edgecompile.evaluate.latency:measure",
        version=2,
        stage=Stage.VALIDATION,
        params={
            "backend": backend,
            "options": options,
            "threads": target.threads,
            "arch": target.arch,
            "memory_mb": target.memory_mb,
            "predictions": graph.recipe.evaluate.latency_images,
            "tolerance": settings.tolerance,
            "seconds": settings.seconds,
            **twin,
            **({"stream_seconds": SECONDS} if graph.recipe.asks_for("stream_fps") else {}),
        },
        inputs={
            "artifact": artifact.artifact,
            "spec": artifact.spec,
            "pictures": graph.materials.validation,
            **beside,
        },
        tools=tuple(dict.fromkeys((distribution, *([float_library] if twin else []), *READERS))),
        isa=True,
        measured=True,
        max_age_s=None if settings.max_age_days is None else settings.max_age_days * DAY_S,
        about="latency, memory and power on this machine",
    )


def _same_results(plain: Model, whole: Model, graph: Graph, run: dict[str, Any], distribution: str) -> Step:
    """Returns the step that proves that an artifact with its post-processing gives the results of the runtime."""
    return Step(
        name="same_results",
        function="edgecompile.evaluate.same_results:compare",
        stage=Stage.VALIDATION,
        params=run,
        inputs={
            "plain": plain.artifact,
            "plain_spec": plain.spec,
            "artifact": whole.artifact,
            "spec": whole.spec,
            "pictures": graph.materials.validation,
        },
        tools=(distribution, *READERS),
        isa=True,
        memory_mb=800,
        about="results of the post-processing in the artifact against the runtime's, on the validation pictures",
    )


def _settings(graph: Graph) -> dict[str, Any]:
    """Returns the settings of the recipe's `evaluate` that the task reads."""
    return {setting.name: getattr(graph.recipe.evaluate, setting.name) for setting in find_task(graph.task).settings}


def _simulated(graph: Graph, name: str, artifact: Model) -> Model:
    """Adds the step that makes a float graph which rounds where the device computes in FP16, and returns the model."""
    graph.add(
        Step(
            name=name,
            function="edgecompile.graphs.onnx.fp16_simulation:simulate",
            stage=Stage.VALIDATION,
            params={"everything": not graph.target.keeps_float},
            inputs={"artifact": artifact.artifact},
            tools=("onnx", "numpy"),
            memory_mb=300,
            about="rounds to FP16 where the device does: the CPU that stands in computes in float",
        )
    )
    return artifact.with_(artifact=Output(name))


def _rounding(graph: Graph, floating: Model) -> Model:
    """Adds the step that makes a float graph which rounds to bfloat16 as the device's kernels do; returns the model."""
    graph.add(
        Step(
            name="bf16_simulation",
            function="edgecompile.graphs.onnx.bf16_simulation:simulate",
            stage=Stage.VALIDATION,
            inputs={"model": floating.artifact},
            tools=("onnx", "numpy"),
            memory_mb=300,
            about="rounds to bfloat16 where the device does: another CPU would compute the artifact in float",
        )
    )
    return floating.with_(artifact=Output("bf16_simulation"))


def _coverage(graph: Graph, artifact: Model) -> Step:
    """Adds and returns the step that counts the layers of the artifact by precision."""
    return graph.add(
        Step(
            name="coverage",
            function="edgecompile.quantization.coverage:count",
            stage=Stage.VALIDATION,
            params={"form": artifact.format, "precision": artifact.precision},
            inputs={"artifact": artifact.artifact, "spec": artifact.spec},
            tools=COUNTED[artifact.format],
            memory_mb=300,
            about="layers of the artifact, and their operations, by precision",
        )
    )


def _evaluate(
    graph: Graph,
    name: str,
    model: Model,
    backend: str,
    distribution: str,
    options: dict[str, Any],
    subject: str,
    shipped: Model | None = None,
) -> Step:
    """Adds and returns a step that evaluates one model on the validation pictures.

    Args:
        shipped: the artifact whose files count, where `model` stands for it.
    """
    reading = graph.materials.reading.as_json()
    stands_for = {"shipped": shipped.artifact} if shipped and shipped != model else {}
    return graph.add(
        Step(
            name=name,
            function="edgecompile.evaluate.accuracy:evaluate",
            version=3,
            stage=Stage.VALIDATION,
            params={
                "backend": backend,
                "options": options,
                "threads": 1,
                "settings": _settings(graph),
                **({"reading": reading} if reading else {}),
            },
            inputs={
                "artifact": model.artifact,
                **stands_for,
                "spec": model.spec,
                "pictures": graph.materials.validation,
                "labels": graph.materials.labels,
            },
            tools=(distribution, *READERS),
            isa=True,
            memory_mb=800,
            about=f"accuracy of {subject} on the validation pictures",
        )
    )
