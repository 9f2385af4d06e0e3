"""The verb `diagnose`, which devices have too."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.arguments import Parser, picture_size
from edgecompile.errors import MissingToolError
from edgecompile.text import tell, to_json
from edgecompile.verbs._bundle import add_bundle, add_execution, add_json
from edgecompile.verbs._remote import add_on, require_on

if TYPE_CHECKING:
    from edgecompile.runtime.diagnosis import Diagnosis
    from edgecompile.runtime.finding import Finding

ABOUT = "soak a bundle: why latency jumps, memory grows, the device heats up, results go wrong; names cause and fix"
MINUTES = 1.0
MOST_MINUTES = 10_080
"""A week."""


def add_arguments(parser: Parser) -> None:
    """Adds the arguments that the verb takes."""
    add_bundle(parser)
    minutes = f"how long the model predicts (default: {MINUTES:g})"
    parser.add_argument("--minutes", metavar="N", type=duration, default=MINUTES, help=minutes)
    images = "pictures to predict, or folders of them (default: the golden picture)"
    parser.add_argument("--images", metavar="DIR", nargs="+", default=[], help=images)
    pause = "milliseconds of rest before each picture, as with a slow camera; in turns with none"
    parser.add_argument("--pause", metavar="MS", type=milliseconds, default=0.0, help=pause)
    sizes = "sizes that pictures are scaled to in turns, pixels: N or HxW, of those the bundle was built for"
    parser.add_argument("--imgsz", metavar="SIZE", type=picture_size, nargs="+", default=[], help=sizes)
    tensor = "a .npy of the input that your own program makes of the picture: in what its pre-processing differs"
    parser.add_argument("--input", metavar="TENSOR.npy", type=Path, help=tensor)
    layers = (
        "compare each layer with the float model, on the golden picture: the one that the bundle was built from, as "
        "the store holds it, or that of a bundle or run directory"
    )
    parser.add_argument("--layers", metavar="FLOAT", nargs="?", const="", help=layers)
    page = "write the page with timelines there (default: diagnosis.html, where the bundle lies in its run directory)"
    parser.add_argument("--page", metavar="FILE.html", type=Path, help=page)
    add_execution(parser)
    add_json(parser)
    add_on(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb, on a device where one is named."""
    require_on(arguments)
    if arguments.device:
        from edgecompile.device.on_device import diagnose

        compared = _compared(arguments)
        return conclude(diagnose(arguments).with_findings(compared), arguments)
    if arguments.layers is not None and not find_spec("edgecompile.layer_diagnosis"):
        fix = "run it where the bundle was built: edgecompile diagnose --layers --on"
        raise MissingToolError("--layers needs the compiler, and this is a device", fix=fix)
    from edgecompile.runtime.supervisor import run_confined

    return run_confined(diagnose_bundle, arguments)


def diagnose_bundle(arguments: argparse.Namespace) -> int:
    """Soaks a bundle, prints what was found, and writes the page."""
    from edgecompile.runtime.archive import Archive
    from edgecompile.runtime.diagnosis import diagnosis_of
    from edgecompile.runtime.soak_bundle import soak_bundle

    compared = _compared(arguments)  # what is missing is said before minutes are spent
    with Archive(arguments.bundle) as archive:
        subject, timeline = soak_bundle(
            archive,
            arguments.images,
            seconds=60 * arguments.minutes,
            pause_s=arguments.pause / 1e3,
            sizes=arguments.imgsz,
            threads=arguments.threads,
        )
    return conclude(diagnosis_of(subject, timeline).with_findings(compared), arguments)


def conclude(diagnosis: Diagnosis, arguments: argparse.Namespace) -> int:
    """Prints a diagnosis, writes its page where there is a place for it, and returns 0.

    Raises:
        GateError: a gate is not met.
        MissingToolError: `--page` names a file, and this is a device, which draws no page.
        StepError: the page cannot be written.
    """
    from edgecompile.runtime.diagnosis import lines
    from edgecompile.runtime.measured_gates import raise_unmet

    if arguments.json:
        print(to_json(diagnosis.to_json()))
    else:
        tell(*lines(diagnosis))
    if page := _page(arguments):
        from edgecompile.report.diagnosis_page import write_page

        write_page(diagnosis, page)
        tell(f"page: {page}", file=sys.stderr)
    raise_unmet(diagnosis.gates)
    return 0


def _compared(arguments: argparse.Namespace) -> list[Finding]:
    """Returns what comparisons found that the arguments ask for: of an input, and of layers."""
    findings: list[Finding] = []
    if arguments.input:
        from edgecompile.runtime.input_file import judge_input_file

        findings += judge_input_file(arguments.bundle, arguments.input, arguments.images)
    if arguments.layers is not None:
        from edgecompile.layer_diagnosis import distances_of, judge_layers, layers_line

        distances = distances_of(arguments.bundle, arguments.layers)
        tell(f"edgecompile: note: {layers_line(distances)}", file=sys.stderr)
        findings += judge_layers(distances)
    return findings


def _page(arguments: argparse.Namespace) -> Path | None:
    """Returns where the page goes; None where it goes nowhere."""
    if not find_spec("edgecompile.report"):
        if arguments.page:
            raise MissingToolError(
                "the page needs the compiler, and this is a device", fix="run it from there: edgecompile diagnose --on"
            )
        return None
    if arguments.page:
        return arguments.page
    from edgecompile.run_dir import DIAGNOSIS, REPORT

    folder = arguments.bundle.resolve().parent
    return folder / DIAGNOSIS if (folder / REPORT).is_file() else None


def duration(text: str) -> float:
    """Returns minutes, up to a week."""
    return _number(text, "minutes, such as 0.5 or 30", least=0.01, most=MOST_MINUTES)


def milliseconds(text: str) -> float:
    """Returns milliseconds, up to a minute."""
    return _number(text, "milliseconds, such as 100", least=0, most=60_000)


def _number(text: str, expected: str, *, least: float, most: float) -> float:
    with suppress(ValueError):
        if least <= float(text) <= most:
            return float(text)
    raise argparse.ArgumentTypeError(f"found '{text}', expected {expected}, from {least:g} to {most:g}")
