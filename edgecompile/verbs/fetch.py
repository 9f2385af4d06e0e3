"""The verb `fetch`: published checkpoints and data sets, downloaded into the cache."""

from __future__ import annotations

import argparse

from edgecompile.arguments import WHERE, Parser
from edgecompile.errors import RecipeError
from edgecompile.text import tell

ABOUT = "download a published checkpoint or data set by name, record its digest, overwrite nothing"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    parser.add_argument("names", metavar="NAME", nargs="+", help="such as yolo11n.pt or coco128.yaml")
    parser.add_argument("--url", metavar="BASE", help="where to download from (default: the releases on GitHub)")
    parser.add_argument("--sha256", metavar="HEX", help="refuse a download of another digest")


def run(arguments: argparse.Namespace) -> int:
    """Downloads each name and prints where it lies."""
    from edgecompile.data.fetch import fetch

    if arguments.sha256 and len(arguments.names) > 1:
        raise RecipeError("--sha256 goes with one name", where=WHERE)
    for name in arguments.names:
        tell(fetch(name, base=arguments.url, sha256=arguments.sha256))
    return 0
