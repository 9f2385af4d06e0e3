"""The verb `list`: recipes, passes, targets and data that can be chosen."""

from __future__ import annotations

import argparse

from edgecompile.arguments import Parser

ABOUT = "list recipes, passes, targets or data"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    parser.add_argument("what", choices=("recipes", "passes", "targets", "data"))
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the names that can be chosen."""
    from edgecompile.recipe.catalog import show

    show(arguments.what, arguments.json)
    return 0
