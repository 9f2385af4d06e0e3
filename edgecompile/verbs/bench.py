"""The verb `bench`, which devices have too."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.arguments import Parser, whole_number
from edgecompile.text import tell, to_json
from edgecompile.verbs._bundle import add_bundle, add_execution, add_json, add_size
from edgecompile.verbs._remote import add_against, add_on, require_on

if TYPE_CHECKING:
    from edgecompile.runtime.bench import Bench

ABOUT = "measure a bundle: latency of each part, frames a second, memory, power"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    add_bundle(parser)
    images = "pictures to predict, or folders of them (default: the golden picture)"
    parser.add_argument("--images", metavar="DIR", nargs="+", default=[], help=images)
    parser.add_argument("--rounds", type=whole_number, help="how often each picture is predicted")
    add_size(parser)
    parser.add_argument("--batch", type=whole_number, help="pictures of one run (default: 1)", default=1)
    add_against(parser)
    stream = "also measure streams, several pictures in flight, in turns with one prediction after another"
    parser.add_argument("--stream", action="store_true", help=stream)
    layers = "also time each layer of the model: by operator, the slowest ones, what the runtime fused"
    parser.add_argument("--layers", action="store_true", help=layers)
    parser.add_argument("--top", metavar="N", type=whole_number, help="how many layers are listed (default: 15)")
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
    from edgecompile.runtime.bench import bench
    from edgecompile.runtime.layer_timings import Rounds
    from edgecompile.runtime.pictures import find_pictures
    from edgecompile.runtime.stream_rate import SECONDS

    pictures = find_pictures(arguments.images) if arguments.images else []
    with Archive(arguments.bundle) as archive:
        result = bench(
            archive,
            pictures,
            threads=arguments.threads,
            rounds=arguments.rounds,
            imgsz=arguments.imgsz,
            batch=arguments.batch,
            against=arguments.against,
            stream_seconds=SECONDS if arguments.stream else 0.0,
            layer_rounds=Rounds() if arguments.layers else None,
        )
    tell_bench(result, arguments)
    if result.layers:
        _add_to_run(arguments.bundle, result)
    return 0


def tell_bench(result: Bench, arguments: argparse.Namespace) -> None:
    """Prints the result as the arguments ask for it."""
    from edgecompile.runtime.bench import summarize
    from edgecompile.runtime.device_key import signed
    from edgecompile.runtime.layer_lines import SLOWEST

    if arguments.json:
        print(to_json(signed(result.to_json()), indent=2))
    else:
        tell(*summarize(result, arguments.top or SLOWEST))


def _add_to_run(bundle: Path, result: Bench) -> None:
    """Adds the times of layers to the report of the run that made the bundle, where that lies beside it and this is no
    device, which has the runtime alone."""
    if not find_spec("edgecompile.report"):
        return
    from edgecompile.device.run_report import add_layers

    if page := add_layers(bundle, result):
        tell(f"report: {page}", file=sys.stderr)
