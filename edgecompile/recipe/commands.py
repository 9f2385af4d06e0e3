"""The verbs of this room that are no Hydra applications: list, schema, fetch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from edgecompile.errors import RecipeError


def main(verb: str, argv: Sequence[str]) -> int:
    """Runs one verb with its arguments and returns the exit code.

    Raises:
        EdgecompileError: for whoever called to print.
    """
    arguments = _parser(verb).parse_args(list(argv))
    return {"list": _list, "schema": _schema, "fetch": _fetch}[verb](arguments)


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as every other error is reported."""

    def error(self, message: str) -> NoReturn:
        raise RecipeError(message, where="command line", fix=f"see `{self.prog} --help`")


def _parser(verb: str) -> argparse.ArgumentParser:
    parser = Parser(prog=f"edgecompile {verb}", description=ABOUT[verb])
    if verb == "list":
        parser.add_argument("what", choices=("recipes", "passes", "targets", "data"))
        parser.add_argument("--json", action="store_true", help="print JSON")
    if verb == "fetch":
        parser.add_argument("names", metavar="NAME", nargs="+", help="such as yolo11n.pt or coco128.yaml")
        parser.add_argument("--url", metavar="BASE", help="where to download from (default: the releases on GitHub)")
        parser.add_argument("--sha256", metavar="HEX", help="refuse a download of another digest")
    return parser


ABOUT = {
    "list": "List what can be chosen here.",
    "schema": "Write the JSON schema of a recipe to stdout. Editors complete and check a recipe whose first line is "
    "'# yaml-language-server: $schema=FILE'.",
    "fetch": "Download published checkpoints and data sets into the cache, record their digests, overwrite nothing.",
}


def _list(arguments: argparse.Namespace) -> int:
    from edgecompile.recipe.listing import show

    show(arguments.what, arguments.json)
    return 0


def _schema(_: argparse.Namespace) -> int:
    from edgecompile.recipe.jsonschema import text

    sys.stdout.write(text())
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    from edgecompile.data.fetch import fetch

    if arguments.sha256 and len(arguments.names) > 1:
        raise RecipeError("--sha256 goes with one name", where="command line")
    for name in arguments.names:
        print(fetch(name, base=arguments.url, sha256=arguments.sha256))
    return 0
