"""The verb `doctor`: the packages that a recipe needs, which of them are installed, and how to install the rest."""

from __future__ import annotations

import argparse

from edgecompile.arguments import Parser

ABOUT = "say which packages a recipe needs and which are missing"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    parser.add_argument("recipe", nargs="*", metavar="RECIPE.yaml | key=value", help="as for `build`")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the packages that a recipe needs; returns 4 where something is missing, 5 where the store has no locks."""
    from edgecompile.installation import report_installation

    return report_installation(arguments.recipe, as_json=arguments.json)
