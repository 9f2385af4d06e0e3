"""The verb `inspect`, which devices have too."""

from __future__ import annotations

import argparse

from edgecompile.arguments import Parser

ABOUT = "say what a bundle holds and how it was judged"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    from edgecompile.runtime.commands import add_arguments as add

    add("inspect", parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    from edgecompile.runtime import commands

    return commands.run("inspect", arguments)
