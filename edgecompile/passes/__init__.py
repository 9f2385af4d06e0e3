"""Passes: one optimization a file. The file name is the registry; third parties add theirs by an entry point.

A pass is its config: a frozen pydantic model whose fields are the whole configuration. Its one method, `lower`, adds
steps to the graph and returns the model they lead to. Heavy imports live inside step functions, which stand in the same
file. To add a pass: `passes/<kind>.py`, `conf/pass/<kind>.yaml`, `tests/passes/test_<kind>.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from edgecompile.errors import Problem
from edgecompile.plan.graph import Graph, Model, Request
from edgecompile.plan.step import Stage

ENTRY_POINTS = "edgecompile.passes"


class Pass(BaseModel, ABC):
    """Base of every pass.

    Class attributes:
        stage: where in the order of stages the pass stands when the recipe gives no explicit order.
        output_precision: the precision the model has after it, or "" where it leaves the precision alone.
        is_source: whether the pass makes the model (an export or import): exactly one such pass, and it comes first.
        on_artifact: whether it works on what the target compiled, after all that does not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    stage: ClassVar[Stage]
    output_precision: ClassVar[str] = ""
    is_source: ClassVar[bool] = False
    on_artifact: ClassVar[bool] = False

    def check_weights(self, weights: Path, recipe: Request) -> list[Problem]:
        """Returns what is wrong with the weights for a pass that reads them, as far as can be seen at once.

        Runs while planning: reads little of the file, runs nothing of it and imports no heavy library.

        Args:
            weights: the file that the recipe names; it is there.
            recipe: what else was asked for.
        """
        return []

    def known_classes(self, weights: Path) -> Sequence[str] | None:
        """Returns the names of classes that the weights bring to a pass that makes the model; None where they bring
        none, or where that takes more than a look."""
        return None

    def files_beside(self) -> tuple[str, ...]:
        """Returns the names of files that it reads beside the weights and that belong to them."""
        return ()

    @abstractmethod
    def lower(self, graph: Graph, model: Model | None) -> Model:
        """Adds this pass's steps to `graph` and returns the model after it.

        Args:
            graph: what has been planned so far; offers the recipe, its target and its materials.
            model: the model before this pass; None for the pass that makes it.

        Raises:
            PlanError: when this pass cannot work on that model or for that target.
        """
