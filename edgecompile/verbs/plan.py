"""The verb `plan`: the steps that a build would run, and why."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.arguments import Parser

if TYPE_CHECKING:
    from edgecompile.compose.command_line import Options
    from edgecompile.recipe.schema import Recipe
    from edgecompile.sweep.points import Points

ABOUT = "the staged graph: each step, its stage, hit or miss and why; runs nothing"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    from edgecompile.compose.command_line import add_recipe_arguments

    parser.add_argument("--json", action="store_true", help="the plan as JSON")
    parser.add_argument("--mermaid", action="store_true", help="the graph as a Mermaid drawing")
    add_recipe_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Plans one recipe, or all points of a sweep as one graph."""
    from edgecompile.compose import application

    return application.main(arguments, plan_recipe, writes=False, whole=plan_sweep)


def plan_recipe(recipe: Recipe, run_dir: Path, options: Options) -> None:
    """Prints the plan of one recipe."""
    from edgecompile.local_plan import show_plan

    show_plan(recipe, as_json=options.json, mermaid=options.mermaid)


def plan_sweep(points: Points, options: Options) -> int:
    """Prints the steps that a sweep would run, and returns the worst exit code of its points."""
    from edgecompile.sweep.sweep_plan import show_sweep_plan

    return show_sweep_plan(points, as_json=options.json, mermaid=options.mermaid)
