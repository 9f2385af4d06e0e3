"""The verbs of the program, one a file: the file name is the registry.

A verb imports what it needs when it runs, so that `--help` is instant and a device, which has the runtime only, still
says what the others would need.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast

from edgecompile.arguments import Parser


class Verb(Protocol):
    """What the module of a verb offers.

    Attributes:
        ABOUT: one line on what the verb does.
    """

    ABOUT: str

    def add_arguments(self, parser: Parser) -> None:
        """Adds the arguments that the verb takes."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Runs the verb and returns the exit code.

        Raises:
            EdgecompileError: for whoever called to print: one line for each problem, and the exit code of its kind.
        """


def verb_names() -> list[str]:
    """Returns the names of all verbs, sorted; also where a device imports them from a wheel as it is."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def find_verb(name: str) -> Verb:
    """Returns the verb of the file `name`."""
    return cast(Verb, import_module(f"{__name__}.{name}"))
