"""The verb `diff`: what differs between two bundles, locks or run directories."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgecompile.arguments import Parser
from edgecompile.text import tell, to_json

ABOUT = "say what differs between two bundles, locks or run directories"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    for name in ("a", "b"):
        parser.add_argument(name, metavar=name.upper(), type=Path, help="a bundle, a lock, or a run directory")
    parser.add_argument("--json", action="store_true", help="print JSON, with all differences")


def run(arguments: argparse.Namespace) -> int:
    """Prints what differs. Returns 0 whether or not anything does: to differ is no error."""
    from edgecompile.bundle.lock import open_locked
    from edgecompile.comparison import compare, document, format_diff

    a, b = open_locked(arguments.a), open_locked(arguments.b)
    found = compare(a, b)
    if arguments.json:
        print(to_json(document(a, b, found), indent=2))
        return 0
    for line in format_diff(a, b, found):
        tell(line)
    return 0
