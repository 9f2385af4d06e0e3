"""Turns a recipe and its materials into a plan. Pure: reads no file, runs no step and imports none."""

from __future__ import annotations

from edgecompile.errors import PlanError
from edgecompile.plan.fp16_range_steps import add_fp16_range, needs_fp16_range
from edgecompile.plan.graph import Graph, Materials, Model, Plan, Request
from edgecompile.plan.sensitivity_steps import LAYERS, quantizer_of, repair_steps, sensitivity_steps
from edgecompile.plan.validation import add_validation


def resolve(recipe: Request, materials: Materials) -> Plan:
    """Lowers the passes in order, then the target, then the passes on what it compiled, then the validation against the
    float model.

    The packaging step is not in the plan: what it packs depends on gates that are judged on measured figures.

    Raises:
        PlanError: when a pass or the target cannot work on what comes before it.
    """
    graph = Graph(recipe, materials, notes=list(materials.notes))
    model: Model | None = None
    reference: Model | None = None
    floating: Model | None = None
    passes = recipe.ordered_passes()
    for pass_ in (pass_ for pass_ in passes if not pass_.on_artifact):
        model = pass_.lower(graph, model)
        reference = reference or model
        floating = model if model.precision == "fp32" else floating
    assert reference is not None, "a recipe has a pass that makes a model"
    compiled: Model = recipe.target.compile(graph, model)
    artifact = compiled
    for pass_ in (pass_ for pass_ in passes if pass_.on_artifact):
        artifact = pass_.lower(graph, artifact)
    embedded = artifact is not compiled
    artifact = recipe.target.finish(graph, artifact)
    if floating is not None and floating.format == "onnx" and needs_fp16_range(graph, artifact.precision):
        add_fp16_range(graph, floating, artifact.precision)
    for warning in recipe.target.warnings(artifact.precision):
        graph.note(warning)
    add_validation(graph, artifact, reference, compiled if embedded else None, floating)
    steps = tuple(graph.steps.values())
    repair = repair_steps(graph, floating)
    candidates = quantizer_of(recipe).repair_limits.candidates if repair else 0
    return Plan(steps, artifact, tuple(graph.notes), materials.counts, graph.task, repair, candidates)


def resolve_ranking(recipe: Request, materials: Materials) -> Plan:
    """Lowers the passes up to the quantization, and returns the plan of the ranking of every block and layer.

    Raises:
        PlanError: the recipe quantizes nothing, its target's INT8 cannot be simulated, or a pass cannot work on what
            comes before it.
    """
    settings = quantizer_of(recipe)
    if settings is None:
        raise PlanError("the recipe has no pass int8_static, whose losses are ranked", fix="+pass@passes=int8_static")
    graph = Graph(recipe, materials, notes=list(materials.notes))
    floating: Model | None = None
    model: Model | None = None
    for pass_ in (pass_ for pass_ in recipe.ordered_passes() if not pass_.on_artifact):
        floating, model = model, pass_.lower(graph, model)
        if pass_ is settings:
            break
    assert floating is not None, "what is quantized was made before"
    assert model is not None, "a pass that quantizes returns a model"
    steps = sensitivity_steps(graph, floating, settings, every_layer=True)
    if not steps:
        raise PlanError(f"nobody has stated how INT8 of the target '{recipe.target.kind}' is simulated")
    for step in steps:
        graph.add(step)
    return Plan(tuple(graph.steps.values()), model, tuple(graph.notes), task=graph.task).needed_by([LAYERS])
