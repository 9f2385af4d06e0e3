"""Turns a recipe and its materials into a plan. Pure: reads no file, runs no step and imports none."""

from __future__ import annotations

from edgecompile.plan.fp16_range_steps import add_fp16_range, needs_fp16_range
from edgecompile.plan.graph import Graph, Materials, Model, Plan, Request
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
    add_validation(graph, artifact, reference, compiled if embedded else None)
    return Plan(tuple(graph.steps.values()), artifact, tuple(graph.notes), materials.counts, graph.task)
