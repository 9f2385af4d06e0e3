"""Arguments of the verbs that open a bundle. Standard library and runtime only: devices have these verbs too."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgecompile.arguments import Parser, picture_size, whole_number
from edgecompile.errors import InputError
from edgecompile.runtime.archive import MANIFEST
from edgecompile.text import tell

SUFFIX = ".bundle.zip"


def add_bundle(parser: Parser) -> None:
    """Adds the bundle, which comes first."""
    parser.add_argument("bundle", metavar="BUNDLE", type=bundle_path, help="a .bundle.zip, or the folder of its build")


def bundle_path(text: str) -> Path:
    """Returns the path of a bundle: of a run directory, or of the folder of a recipe's runs, the newest bundle in it.

    Raises:
        InputError: there is none in the folder, or the bundles of several recipes.
    """
    path = Path(text)
    if not path.is_dir():
        return path
    found = sorted([*path.glob(f"*{SUFFIX}"), *path.glob(f"*/*{SUFFIX}")], key=lambda file: file.stat().st_mtime)
    if not found:
        if (path / MANIFEST).is_file():
            fix = "only the .bundle.zip is read, whose digests are checked; name that"
            raise InputError("an unpacked bundle", where=text, fix=fix)
        page = path / "report.html"
        fix = f"its report says why: {page}" if page.is_file() else "name a .bundle.zip, or the folder of a build"
        raise InputError("no bundle in this folder", where=text, fix=fix)
    if len({file.name for file in found}) > 1:
        names = ", ".join(str(file) for file in found[-3:])
        raise InputError(f"{len(found)} bundles in this folder", where=text, fix=f"name one of them, such as {names}")
    if len(found) > 1:
        tell(
            f"edgecompile: note: {len(found)} bundles in this folder; the newest is taken: {found[-1]}", file=sys.stderr
        )
    return found[-1]


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
