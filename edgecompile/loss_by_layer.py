"""Where the error of an artifact enters, layer by layer, for the page of its run: found by one more step behind the
others of a build. No bundle depends on it, so what prevents it ends no build."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from edgecompile.errors import EdgecompileError
from edgecompile.execute.runner import execute
from edgecompile.execute.store import Store
from edgecompile.local_plan import unmeasured
from edgecompile.plan.facts import LayerLossFacts
from edgecompile.plan.graph import Plan
from edgecompile.plan.layer_loss_step import LAYER_LOSS, layer_loss_step, why_none
from edgecompile.report.document import LayerLossSection


def layer_loss_of(plan: Plan, store: Store) -> LayerLossSection:
    """Returns the section of the report: the layers, or why they are not compared.

    Args:
        plan: of a build whose steps have run.
    """
    if why := why_none(plan):
        return LayerLossSection(layers=[], why=why)
    before = unmeasured(plan)
    try:
        entries = execute(replace(before, steps=(*before.steps, layer_loss_step(plan))), store)
    except EdgecompileError as error:
        return LayerLossSection(layers=[], why=str(error))
    return LayerLossSection(layers=cast("LayerLossFacts", entries[LAYER_LOSS].facts)["layers"], why="")
