"""The verb `deploy`: a bundle and the runtime on a device that is reached by ssh."""

from __future__ import annotations

import argparse

from edgecompile.arguments import Parser
from edgecompile.runtime.trust_flags import add_trust
from edgecompile.verbs._bundle import add_bundle, add_tune
from edgecompile.verbs._remote import FORM, add_against, add_device_arguments

ABOUT = "copy a bundle and the runtime to a device by ssh, verify and measure it there"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    from edgecompile.runtime.confinement import add_flags

    add_bundle(parser)
    parser.add_argument("device", metavar="DEVICE", help=FORM)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--no-bench", action="store_true", help="copy and verify, and measure nothing")
    add_against(parser)
    add_trust(parser)
    add_tune(parser)
    add_device_arguments(parser)
    add_flags(parser, building=True)


def run(arguments: argparse.Namespace) -> int:
    """Deploys a bundle and prints its path on the device."""
    from edgecompile.device.on_device import deploy

    return deploy(arguments)
