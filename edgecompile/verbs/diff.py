"""The verb `diff`: the differences between two bundles, locks or run directories."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgecompile.arguments import Parser
from edgecompile.text import tell, to_json

ABOUT = "list the differences between two bundles, locks or run directories"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    for name in ("a", "b"):
        parser.add_argument(name, metavar=name.upper(), type=Path, help="a bundle, a lock, or a run directory")
    parser.add_argument("--json", action="store_true", help="print JSON, with all differences")


def run(arguments: argparse.Namespace) -> int:
    """Prints the differences. Returns 0 whether or not there are any: a difference is no error."""
    from edgecompile.bundle.lock import open_locked
    from edgecompile.comparison import compare, document, format_diff

    a, b = open_locked(arguments.a), open_locked(arguments.b)
    comparison = compare(a, b)
    if arguments.json:
        print(to_json(document(a, b, comparison), indent=2))
        return 0
    for line in format_diff(a, b, comparison):
        tell(line)
    return 0
