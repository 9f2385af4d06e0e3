"""The verb `predict`, which devices have too."""

from __future__ import annotations

import argparse

from edgecompile.arguments import Parser

ABOUT = "run a bundle on pictures"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    from edgecompile.runtime.commands import add_arguments as add

    add("predict", parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    from edgecompile.runtime import commands

    return commands.run("predict", arguments)
