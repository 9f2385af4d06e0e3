"""The verb `sensitivity`: which blocks and layers of a model lose most in INT8, and why."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.arguments import WHERE, Parser
from edgecompile.errors import RecipeError, StepError

if TYPE_CHECKING:
    from edgecompile.compose.command_line import Options
    from edgecompile.quantization.sensitivity_document import Sensitivity
    from edgecompile.recipe.schema import Recipe

ABOUT = "rank blocks and layers by what they lose in INT8, without labels; shows the cause"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    from edgecompile.compose.command_line import add_recipe_arguments

    parser.add_argument("--json", action="store_true", help="the ranking as JSON")
    parser.add_argument("--out", metavar="FILE.svg", help="draw the ranking into a file as well")
    add_recipe_arguments(parser, multirun=False)


def run(arguments: argparse.Namespace) -> int:
    """Ranks the parts of the model of one recipe."""
    from edgecompile.compose import application

    if arguments.multirun:
        raise RecipeError("--multirun makes many recipes, and a ranking is of one", where=WHERE)
    return application.main(arguments, rank_recipe, writes=False)


def rank_recipe(recipe: Recipe, run_dir: Path, options: Options) -> None:
    """Prints the ranking of one recipe to stdout."""
    import sys

    from edgecompile.execute.progress import show_progress
    from edgecompile.execute.runner import execute
    from edgecompile.execute.store import Store
    from edgecompile.plan.resolve import resolve_ranking
    from edgecompile.plan.sensitivity_steps import LAYERS
    from edgecompile.quantization.sensitivity_document import FILE, as_document, read_sensitivity
    from edgecompile.recipe.materials import find_materials
    from edgecompile.report.ranking import print_ranking
    from edgecompile.text import to_json

    plan = resolve_ranking(recipe, find_materials(recipe))
    with show_progress(plan, quiet=options.quiet) as listener:
        entries = execute(plan, Store.default(), jobs=options.jobs, progress=listener)
    found = read_sensitivity(entries[LAYERS].path(FILE))
    if options.out:
        _draw(found, recipe.name, Path(options.out))
    if options.json:
        print(to_json(as_document(found), indent=2))
    else:
        print_ranking(found, stream=sys.stdout)


def _draw(found: Sensitivity, name: str, path: Path) -> None:
    """Writes the drawing.

    Raises:
        StepError: the disk refuses.
    """
    from edgecompile.files import write_atomically
    from edgecompile.report.ranking import drawing

    try:
        write_atomically(path, drawing(found, name).encode())
    except OSError as error:
        raise StepError(f"the drawing cannot be written: {error.strerror or error}", where=str(path)) from error
