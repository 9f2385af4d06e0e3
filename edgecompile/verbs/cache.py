"""The verb `cache`: lists, verifies and shrinks the store."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from edgecompile.arguments import Parser
from edgecompile.text import tell, to_json

ABOUT = "ls, verify or gc the store of results"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    common = Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument("--cache", metavar="DIR", help="the store (default: $EDGECOMPILE_CACHE, else the user's cache)")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ls|verify|gc")
    actions.add_parser("ls", parents=[common], help="list the results, the last used first")
    actions.add_parser("verify", parents=[common], help="read everything; quarantine damaged entries")
    gc = actions.add_parser("gc", parents=[common], help="remove entries not used for long; safe while builds run")
    gc.add_argument("--older-than", type=float, default=30, metavar="DAYS", help="not used for so long (default: 30)")
    gc.add_argument("--max-size", metavar="SIZE", help="then the least recently used, until this is left: 500M, 5G")


def run(arguments: argparse.Namespace) -> int:
    """Prints the result of the action."""
    from edgecompile.execute.store import Store
    from edgecompile.execute.store_report import collection, listing, verification

    store = Store(arguments.cache) if arguments.cache else Store.default()
    document: Mapping[str, object]
    if arguments.action == "gc":
        document, lines = collection(store, older_than_days=arguments.older_than, max_size=arguments.max_size)
    elif arguments.action == "verify":
        document, lines = verification(store)
    else:
        document, lines = listing(store)
    if arguments.json:
        print(to_json({**document, "store": str(store.root)}, indent=2))
    else:
        tell(*lines)
    return 0
