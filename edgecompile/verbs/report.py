"""The verb `report`: the report of a sweep, written again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgecompile.arguments import Parser
from edgecompile.text import to_json

ABOUT = "compare the points of a sweep: table, Pareto front, failures, what to ship"


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    parser.add_argument("sweep", metavar="SWEEP_DIR", type=Path, help="outputs/sweeps/..., of a `build -m`")
    parser.add_argument("--json", action="store_true", help="print results.json instead of the table")
    parser.epilog = "Writes results.csv, results.json and report.html into the directory."


def run(arguments: argparse.Namespace) -> int:
    """Writes the report and prints its table."""
    from edgecompile.sweep.report_files import read, report, write

    if arguments.json:
        sweep = read(arguments.sweep)
        write(sweep, arguments.sweep)
        print(to_json(sweep.to_json(), indent=2))
    else:
        report(arguments.sweep, stream=sys.stdout)
    return 0
