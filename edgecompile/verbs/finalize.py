"""The verb `finalize`, which devices have too."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from edgecompile.arguments import Parser
from edgecompile.text import tell, to_json
from edgecompile.verbs._bundle import add_bundle, add_execution, add_json, add_tune
from edgecompile.verbs._remote import add_on, require_on

if TYPE_CHECKING:
    from edgecompile.runtime.finalize import Record

ABOUT = "finish a bundle on its device: build the model there, verify it, judge the gates that need the device"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    add_bundle(parser)
    parser.add_argument("--rebuild", action="store_true", help="build again a model that was built here before")
    add_tune(parser)
    add_execution(parser, building=True)
    add_json(parser)
    add_on(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb, on a device where one is named."""
    require_on(arguments)
    if arguments.device:
        from edgecompile.device.on_device import finalize

        return finalize(arguments)
    from edgecompile.runtime.supervisor import run_confined

    return run_confined(finalize_bundle, arguments)


def finalize_bundle(arguments: argparse.Namespace) -> int:
    """Builds, verifies and judges a bundle's model on its device, and prints the record, accepted or not."""
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.bundle_summary import summarize_record
    from edgecompile.runtime.device_key import signed
    from edgecompile.runtime.finalize import finalize

    def show(record: Record) -> None:
        if arguments.json:
            print(to_json(signed(record), indent=2), flush=True)
        else:
            tell(*summarize_record(record))

    with Archive(arguments.bundle) as archive:
        finalize(archive, threads=arguments.threads, rebuild=arguments.rebuild, report=show)
        if arguments.tune:
            from edgecompile.runtime.tune import tune

            tell(*tune(archive).lines(), file=sys.stderr)
    return 0
