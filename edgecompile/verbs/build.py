"""The verb `build`: the main job."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.arguments import Parser, whole_number

if TYPE_CHECKING:
    from edgecompile.compose.command_line import Options
    from edgecompile.recipe.schema import Recipe

ABOUT = "compose, plan, run, publish; the bundle's path is the last line of stdout"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    from edgecompile.compose.command_line import add_recipe_arguments

    parser.add_argument("--jobs", metavar="N", type=whole_number, help="at most N steps side by side")
    locked = "fail where anything differs from the lock beside the recipe; see `lock`"
    parser.add_argument("--locked", action="store_true", help=locked)
    again = "measure latency and memory now, whatever was measured before"
    parser.add_argument("--measure-again", action="store_true", help=again)
    timeout = "end a step that takes longer, or none (default: by its stage and pictures)"
    parser.add_argument("--step-timeout", metavar="SECONDS", help=timeout)
    memory = "fail a step that allocates more, as 8G, or none (default: 3/4 of the machine's memory)"
    parser.add_argument("--step-memory", metavar="SIZE", help=memory)
    add_recipe_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Builds one recipe, or each point of a sweep."""
    from edgecompile.compose import application

    return application.main(arguments, build_recipe, writes=True, after=report_sweep)


def build_recipe(recipe: Recipe, run_dir: Path, options: Options) -> Path:
    """Builds one recipe and returns the bundle's path."""
    from edgecompile.build import Display, run_build
    from edgecompile.device import remote_progress
    from edgecompile.execute import limits
    from edgecompile.execute.progress import noted, show_progress
    from edgecompile.recipe_lock import lock_beside

    limits.adjust(options.step_timeout, options.step_memory)
    lock = lock_beside(recipe) if options.locked else None
    device = partial(remote_progress.show_lines, quiet=options.quiet)
    if options.point:  # of a sweep, which shows its points' progress from their notes, and their figures at its end
        display = Display(partial(noted, folder=run_dir), device, _say_nothing)
    else:
        display = Display(partial(show_progress, quiet=options.quiet), device)
    again = options.measure_again
    return run_build(recipe, run_dir=run_dir, jobs=options.jobs, lock=lock, display=display, measure_again=again)


def _say_nothing(report: object, run_dir: Path) -> None:
    """Prints no figures of a build; they stand in its report."""


def report_sweep(folder: Path) -> None:
    """Writes the report of a sweep that has ended into its folder, and prints it."""
    from edgecompile.sweep.report_files import report

    report(folder, stream=sys.stderr)
