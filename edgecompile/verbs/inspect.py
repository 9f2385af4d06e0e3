"""The verb `inspect`, which devices have too."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgecompile.arguments import Parser
from edgecompile.errors import BundleError
from edgecompile.text import tell, to_json
from edgecompile.verbs._bundle import add_bundle, add_json

if TYPE_CHECKING:
    from edgecompile.runtime.archive import Archive

ABOUT = "show what a bundle holds and how it was judged"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    add_bundle(parser)
    add_json(parser)
    sbom = "print the bill of materials (CycloneDX 1.6) instead"
    parser.add_argument("--sbom", action="store_true", help=sbom)


def run(arguments: argparse.Namespace) -> int:
    """Prints the manifest of a bundle. It runs no model, and so needs no process of its own."""
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.bundle_summary import read_sbom, summarize
    from edgecompile.runtime.signature_lines import signature_lines

    try:
        with Archive(arguments.bundle) as archive:
            size = archive.path.stat().st_size
            tuned = _tuned(archive)
            if arguments.sbom:
                print(to_json(read_sbom(archive), indent=2))
            elif arguments.json:
                about = {"sha256": archive.digest, "size_bytes": size, "manifest": archive.manifest}
                print(to_json({**about, **({"tuned_here": tuned} if tuned else {})}, indent=2))
            else:
                tell(*summarize(archive.manifest, archive.digest, size))
                tell(*signature_lines(archive.path, archive.digest, archive.signed))
                if tuned:
                    tell(f"{'tuned here':<12} {tuned}")
    except BundleError as error:
        raise error.located(arguments.bundle) from error
    return 0


def _tuned(archive: Archive) -> str:
    """Returns what `tune` chose for a bundle on this machine; "" where there is nothing, or its backend is not here."""
    from edgecompile.runtime.target import read_target
    from edgecompile.runtime.tuning import find_setting

    try:
        opened = find_setting(archive, read_target(archive), None)
    except BundleError:  # of another device, say
        return ""
    return opened.tuning.line() if opened.tuning else f"ignored: {opened.ignored}" if opened.ignored else ""
