"""What a recipe resolves to on this machine, and what building it would run. Runs no step, and is quick to import."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from edgecompile.execute.store import Store
from edgecompile.plan.graph import Graph
from edgecompile.plan.memory_estimate import estimated_mb, memory_remarks
from edgecompile.plan.resolve import resolve
from edgecompile.plan.shapes import one_shape, profile_of
from edgecompile.recipe.materials import find_materials
from edgecompile.runtime.machine import architecture
from edgecompile.runtime.measured_gates import MEASURED
from edgecompile.runtime.sensors import missing_sensors
from edgecompile.text import to_json

if TYPE_CHECKING:
    from edgecompile.plan.graph import Materials, Plan
    from edgecompile.recipe.schema import Recipe

HALF = 2
"""How many times as large weights are in float as in a checkpoint, which holds them in FP16."""


def prepare(recipe: Recipe) -> tuple[Materials, Plan]:
    """Finds on disk what a recipe names, and resolves it into a plan. Runs no step.

    Raises:
        RecipeError: weights, data set, pictures or labels are missing or malformed.
        PlanError: the passes cannot work together or on the target.
    """
    materials = find_materials(recipe)
    return materials, resolve(recipe, materials)


def local_steps(recipe: Recipe, plan: Plan) -> Plan:
    """Returns the plan without the steps that measure this machine, where the recipe names a device to measure."""
    if not recipe.device.host:
        return plan
    note = f"latency, memory and power are measured on {recipe.device.host}, after all other steps"
    return replace(unmeasured(plan), notes=(*plan.notes, note))


def unmeasured(plan: Plan) -> Plan:
    """Returns the plan without its steps that measure, which no other step reads."""
    return replace(plan, steps=tuple(step for step in plan if not step.measured))


def memory_notes(recipe: Recipe, materials: Materials) -> list[str]:
    """Returns what to know of the memory that the artifact will take, by an estimate from the size of its weights and
    its pictures. No part of a plan that is run: a build measures."""
    graph = Graph(recipe, materials)
    profile, _ = profile_of(recipe.model, recipe.target, graph.imgsz)
    pictures, _, height, width = (profile or one_shape(graph.imgsz))["max"]
    first, *beside = materials.weights.paths
    stored_mb = sum(map(os.path.getsize, (first, *beside))) / 1e6 * (HALF if first.endswith(".pt") else 1)
    estimate = estimated_mb(stored_mb, pictures * height * width)
    limits = {name: limit for name, limit in recipe.gates if name in ("peak_memory_mb", "peak_memory_percent")}
    return memory_remarks(estimate, recipe.target.memory_mb, limits["peak_memory_mb"], limits["peak_memory_percent"])


def unjudgeable_notes(recipe: Recipe) -> list[str]:
    """Returns the gates of a recipe that will not be met here because this machine cannot tell their figures, with the
    reason; and those that a build leaves to `diagnose`. None of them where another machine measures."""
    limits = [name for name, limit in recipe.gates if limit is not None and name in MEASURED]
    soaked = [
        f"gates.{name} is judged by `edgecompile diagnose`, not by a build" for name in limits if MEASURED[name].soak
    ]
    if recipe.device.host:
        return soaked
    if recipe.target.proxy_backend() is not None:
        left = ", ".join(f"gates.{name}" for name in limits if not MEASURED[name].soak)
        return [*([f"{left}: judged on the device, by `edgecompile finalize`"] if left else []), *soaked]
    here = architecture()
    if here != recipe.target.arch:
        reasons = dict.fromkeys(limits, f"the target is {recipe.target.arch}, this machine {here}")
    else:
        reasons = missing_sensors()
    unmet = [name for name in limits if name in reasons and not MEASURED[name].soak]
    return [f"gates.{name} cannot be judged here, and so is not met: {reasons[name]}" for name in unmet] + soaked


def show_plan(recipe: Recipe, *, as_json: bool = False, mermaid: bool = False) -> None:
    """Prints the plan of `recipe` to stdout: each step, its stage, hit or miss and why. Runs no step.

    Raises:
        RecipeError, PlanError: everything that is wrong with the recipe, as far as reading it shows.
    """
    store = Store.default()
    store.warn_reader()
    materials, plan = prepare(recipe)
    plan = local_steps(recipe, plan)
    plan = replace(plan, notes=(*plan.notes, *memory_notes(recipe, materials), *unjudgeable_notes(recipe)))
    if mermaid:
        from edgecompile.report.mermaid import mermaid_of

        print(mermaid_of(plan))
        return
    from edgecompile.execute.plan_status import plan_status

    states = plan_status(plan, store)
    if as_json:
        from edgecompile.report.document import plan_document

        print(to_json(plan_document(recipe, plan, states), indent=2))
        return
    from edgecompile.report.terminal import print_plan

    print_plan(plan, states, stream=sys.stdout)
