"""The verbs of the program, one a file: the file name is the registry.

A verb imports its modules when it runs, so that `--help` is instant and a device, which has the runtime only, still
names the packages that the other verbs would need.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast

from edgecompile.arguments import Parser


class Verb(Protocol):
    """The interface of a verb's module.

    Attributes:
        ABOUT: one line that describes the verb.
    """

    ABOUT: str

    def add_arguments(self, parser: Parser) -> None:
        """Adds the arguments that the verb takes."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Runs the verb and returns the exit code.

        Raises:
            EdgecompileError: the caller prints a line for each of its problems and ends with the exit code of its kind.
        """


def verb_names() -> list[str]:
    """Returns the names of all verbs, sorted; also where a device imports them from a wheel as it is."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def find_verb(name: str) -> Verb:
    """Returns the verb of the file `name`."""
    return cast(Verb, import_module(f"{__name__}.{name}"))
