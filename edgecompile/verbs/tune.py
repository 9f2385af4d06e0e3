"""The verb `tune`, which devices have too."""

from __future__ import annotations

import argparse
import sys

from edgecompile.arguments import Parser
from edgecompile.text import tell, to_json
from edgecompile.verbs._bundle import add_bundle, add_json
from edgecompile.verbs._remote import add_on, require_on

ABOUT = "choose by measurement, on this machine, what a bundle's runtime leaves open; predict then uses it"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    from edgecompile.runtime.confinement import add_flags

    add_bundle(parser)
    images = "pictures to predict, or folders of them (default: the golden picture)"
    parser.add_argument("--images", metavar="DIR", nargs="+", default=[], help=images)
    parser.add_argument("--minutes", metavar="N", type=minutes, help="how long is measured at most (default: 3)")
    parser.add_argument("--reset", action="store_true", help="remove what was chosen; measure nothing")
    add_flags(parser, building=False)
    add_json(parser)
    add_on(parser)


def minutes(text: str) -> float:
    """Returns a number of minutes above 0."""
    try:
        if 0 < float(text) <= 24 * 60:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"found '{text}', expected minutes, such as 3 or 0.5")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb, on a device where one is named."""
    require_on(arguments)
    if arguments.device:
        from edgecompile.device.on_device import tune

        return tune(arguments)
    from edgecompile.runtime.supervisor import run_confined

    return run_confined(tune_bundle, arguments)


def tune_bundle(arguments: argparse.Namespace) -> int:
    """Tunes a bundle, or forgets what was chosen for it, and prints the result."""
    from edgecompile.runtime import tuning
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.pictures import find_pictures
    from edgecompile.runtime.target import read_target
    from edgecompile.runtime.tune import MINUTES, tune

    pictures = find_pictures(arguments.images) if arguments.images else []
    with Archive(arguments.bundle) as archive:
        if arguments.reset:
            tuning.forget(archive, read_target(archive))
            tell("reset            the bundle is opened as it says itself")
            return 0
        result = tune(
            archive,
            pictures=pictures,
            minutes=arguments.minutes or MINUTES,
            report=lambda line: None if arguments.quiet else tell(line, file=sys.stderr),
        )
    if arguments.json:
        print(to_json(result.to_json(), indent=2))
    else:
        tell(*result.lines())
    return 0
