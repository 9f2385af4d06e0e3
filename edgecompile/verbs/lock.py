"""The verb `lock`: writes the lock of a recipe beside it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.arguments import WHERE, Parser
from edgecompile.errors import RecipeError
from edgecompile.text import tell

if TYPE_CHECKING:
    from edgecompile.compose.command_line import Options
    from edgecompile.recipe.schema import Recipe

ABOUT = "write the lock of a recipe beside it, for `build --locked` and `reproduce`; runs nothing"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    from edgecompile.compose.command_line import add_recipe_arguments

    parser.add_argument("--out", metavar="FILE", help="where to write (default: RECIPE.lock.yaml beside the recipe)")
    add_recipe_arguments(parser, multirun=False)


def run(arguments: argparse.Namespace) -> int:
    """Locks one recipe."""
    from edgecompile.compose import application

    if arguments.multirun:
        raise RecipeError("--multirun makes many recipes, and a lock is of one recipe", where=WHERE)
    return application.main(arguments, lock_recipe, writes=False)


def lock_recipe(recipe: Recipe, run_dir: Path, options: Options) -> None:
    """Writes the lock of one recipe and prints its path."""
    from edgecompile.build import resolved
    from edgecompile.recipe_lock import lock_path, write_lock

    path = Path(options.out) if options.out else lock_path(recipe)
    write_lock(resolved(recipe), path)
    tell(path)
