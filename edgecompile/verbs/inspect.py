"""The verb `inspect`, which devices have too."""

from __future__ import annotations

import argparse

from edgecompile.arguments import Parser
from edgecompile.errors import BundleError
from edgecompile.text import tell, to_json
from edgecompile.verbs._bundle import add_bundle, add_json

ABOUT = "show what a bundle holds and how it was judged"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    add_bundle(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints the manifest of a bundle. It runs no model, and so needs no process of its own."""
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.bundle_summary import summarize
    from edgecompile.runtime.signature_lines import signature_lines

    try:
        with Archive(arguments.bundle) as archive:
            size = archive.path.stat().st_size
            if arguments.json:
                print(to_json({"sha256": archive.digest, "size_bytes": size, "manifest": archive.manifest}, indent=2))
            else:
                tell(*summarize(archive.manifest, archive.digest, size))
                tell(*signature_lines(archive.path, archive.digest, archive.signed))
    except BundleError as error:
        raise error.located(arguments.bundle) from error
    return 0
