"""The verb `bench`, which devices have too."""

from __future__ import annotations

import argparse

from edgecompile.arguments import Parser, whole_number
from edgecompile.text import tell, to_json
from edgecompile.verbs._bundle import add_bundle, add_execution, add_json, add_size
from edgecompile.verbs._remote import add_on, require_on

ABOUT = "measure a bundle: latency of each part, frames a second, memory, power"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    add_bundle(parser)
    images = "pictures to predict, or folders of them (default: the golden picture)"
    parser.add_argument("--images", metavar="DIR", nargs="+", default=[], help=images)
    parser.add_argument("--rounds", type=whole_number, help="how often each picture is predicted")
    add_size(parser)
    parser.add_argument("--batch", type=whole_number, help="pictures of one run (default: 1)", default=1)
    add_execution(parser)
    add_json(parser)
    add_on(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb, on a device where one is named."""
    require_on(arguments)
    if arguments.device:
        from edgecompile.device.on_device import measure

        return measure(arguments)
    from edgecompile.runtime.supervisor import run_confined

    return run_confined(bench_bundle, arguments)


def bench_bundle(arguments: argparse.Namespace) -> int:
    """Measures a bundle and prints the figures."""
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.bench import bench, summarize
    from edgecompile.runtime.pictures import find_pictures

    pictures = find_pictures(arguments.images) if arguments.images else []
    with Archive(arguments.bundle) as archive:
        result = bench(
            archive,
            pictures,
            threads=arguments.threads,
            rounds=arguments.rounds,
            imgsz=arguments.imgsz,
            batch=arguments.batch,
        )
    if arguments.json:
        print(to_json(result.to_json(), indent=2))
    else:
        tell(*summarize(result))
    return 0
