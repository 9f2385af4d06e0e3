"""The verb `schema`: the JSON schema of a recipe, for editors."""

from __future__ import annotations

import argparse
import sys

from edgecompile.arguments import Parser

ABOUT = "write the JSON schema of a recipe, for editors"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes: none."""
    parser.epilog = "Editors complete and check a recipe whose first line is '# yaml-language-server: $schema=FILE'."


def run(arguments: argparse.Namespace) -> int:
    """Writes the schema to stdout."""
    from edgecompile.recipe.jsonschema import text

    sys.stdout.write(text())
    return 0
