"""Says which packages the steps of a recipe use: `python -m edgecompile.compose.requirements [RECIPE] [key=value ...]`.

A program of its own, so that `doctor`, which calls it, imports no Hydra. The plan is made with materials that need not
exist: what a step uses does not depend on them.
"""

from __future__ import annotations

import sys
from typing import TypedDict

from edgecompile.errors import EdgecompileError
from edgecompile.plan.graph import Materials
from edgecompile.plan.resolve import resolve
from edgecompile.plan.step import Source
from edgecompile.recipe.schema import Recipe
from edgecompile.text import tell, to_json


class Requirements(TypedDict):
    """What a recipe needs.

    runtime: distribution that its device needs, and the version range.
    tools: each distribution that a step uses to the names of those steps.
    """

    name: str
    runtime: list[str]
    tools: dict[str, list[str]]


def requirements(recipe: Recipe) -> Requirements:
    """Returns what a recipe needs.

    Raises:
        PlanError: no plan follows from the recipe.
    """
    absent = Source("absent", ("/absent",), many=True)
    plan = resolve(recipe, Materials(Source("weights", (recipe.model.weights,)), absent, absent, absent, ()))
    tools: dict[str, list[str]] = {}
    for step in plan:
        for tool in step.tools:
            tools.setdefault(tool, []).append(step.name)
    return {"name": recipe.name, "runtime": list(recipe.target.runtime), "tools": dict(sorted(tools.items()))}


def main(words: list[str]) -> int:
    """Prints the requirements of a command line as JSON, or its problems as lines on stderr; returns the exit code."""
    from edgecompile.compose.composition import compose

    try:
        print(to_json(requirements(compose(*words))))
    except EdgecompileError as error:
        for problem in error.problems:
            tell(f"edgecompile: {problem}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
