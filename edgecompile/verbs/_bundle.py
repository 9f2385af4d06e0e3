"""Arguments of the verbs that open a bundle. Standard library and runtime only: devices have these verbs too."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgecompile.arguments import Parser, picture_size, whole_number


def add_bundle(parser: Parser) -> None:
    """Adds the bundle, which comes first."""
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a .bundle.zip")


def add_size(parser: Parser) -> None:
    """Adds `--imgsz`, for verbs that predict pictures."""
    size = "size that pictures are scaled to, pixels: N or HxW, of those the bundle was built for"
    parser.add_argument("--imgsz", type=picture_size, metavar="SIZE", help=size)


def add_execution(parser: Parser, *, building: bool = False) -> None:
    """Adds how the model runs: threads, and the limits of its process.

    Args:
        building: whether the verb builds the model too.
    """
    from edgecompile.runtime.confinement import add_flags

    parser.add_argument("--threads", type=thread_count, help="threads (default: the target's)")
    add_flags(parser, building=building)


def add_tune(parser: Parser) -> None:
    """Adds `--tune`."""
    tune = "then choose by measurement there what the runtime leaves open (`tune`), for up to 3 minutes"
    parser.add_argument("--tune", action="store_true", help=tune)


def add_json(parser: Parser) -> None:
    """Adds `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def thread_count(text: str) -> int:
    """Returns a number of threads that a backend may be opened with."""
    from edgecompile.runtime.options import MOST_THREADS

    if (count := whole_number(text)) > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"found '{text}', expected a whole number from 1 to {MOST_THREADS}")
    return count
