"""The verb `bench`, which devices have too."""

from __future__ import annotations

import argparse

from edgecompile.arguments import Parser
from edgecompile.verbs._remote import add_on, require_on

ABOUT = "measure a bundle: latency of each part, frames a second, memory, power"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    from edgecompile.runtime.commands import add_arguments as add

    add("bench", parser)
    add_on(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb, on a device where one is named."""
    require_on(arguments)
    if arguments.device:
        from edgecompile.device.on_device import measure

        return measure(arguments)
    from edgecompile.runtime import commands

    return commands.run("bench", arguments)
