"""How well the ratio of two models measured in turns repeats: on this machine as it is, and beside a busy neighbour.

    python bench/interleaved_ratio.py

Builds the embedded sample in float and in INT8 for ONNX Runtime, then measures the pair again and again as builds do
(`edgecompile.runtime.measure`), first as the machine is and then beside a process that computes all the time. Says what
other programs took of the processor meanwhile: where that is more than 3 %, the first part is no quiet machine.
Exit code 1 where a ratio is further from the median of its ten than 3 % (quiet) or 6 % (beside the neighbour).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import harness

from edgecompile.runtime.archive import Archive
from edgecompile.runtime.measure import Extent, Other, Subject, golden_picture, measure
from edgecompile.runtime.measurement import Measurement

RECIPES = ("x86-cpu_onnxruntime_int8", "x86-cpu_onnxruntime_fp32")
QUIET, BUSY = 0.03, 0.06
"""Shares by which a ratio may be off."""
NEIGHBOUR = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"


def main() -> int:
    options = arguments().parse_args()
    figures: dict[str, object] = {"machine": harness.announce()}
    work = harness.workplace(options.work)
    bundles = [harness.built(sample(recipe, work)) for recipe in RECIPES]
    met = []
    for name, limit, neighbours in (("as it is", QUIET, 0), ("beside a busy neighbour", BUSY, 1)):
        with busy(neighbours):
            found = [ratio(bundles, options) for _ in range(options.runs)]
        figures[name] = [one.to_json() for one in found]
        met += [said(name, found, limit)]
    return harness.conclude(options, figures, met)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="how often the pair is measured (default 10)")
    parser.add_argument("--predictions", type=int, default=400, help="of each model in a run, at least (default 400)")
    parser.add_argument("--seconds", type=float, default=30, help="of a run, at most (default 30)")
    parser.add_argument("--threads", type=int, default=2, help="of each model (default 2)")
    parser.add_argument("--work", type=Path, help="folder for caches and bundles (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser


def sample(recipe: str, work: Path) -> harness.Run:
    words = (f"recipe={recipe}", "model=sample", "data=sample", *harness.NO_GATES, "measurement.seconds=1")
    return harness.edgecompile("build", *words, work=work)


def ratio(bundles: list[Path], options: argparse.Namespace) -> Measurement:
    """Measures the first bundle in turns with the second."""
    with tempfile.TemporaryDirectory() as folder, Archive(bundles[0]) as archive:
        picture = golden_picture(archive, Path(folder))
        mine, other = (Subject([picture], options.threads, bundle, backend="onnxruntime") for bundle in bundles)
        extent = Extent(predictions=options.predictions, seconds=options.seconds)
        return measure(mine, extent, Other(other, "fp32"))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Has so many processes compute meanwhile."""
    started = [subprocess.Popen([sys.executable, "-S", "-c", NEIGHBOUR]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def said(name: str, found: list[Measurement], limit: float) -> bool:
    """Prints how well the ratios repeat, and what the machine did; returns whether they repeat."""
    ratios = [one.speedup.ratio for one in found if one.speedup]
    middle = statistics.median(ratios)
    foreign = [one.quality.foreign for one in found if one.quality and one.quality.foreign is not None]
    taken = f"{100 * min(foreign):.0f} to {100 * max(foreign):.0f} %" if foreign else "an unknown share"
    quickest = min(one.extremes_ms[0] for one in found if one.extremes_ms)
    medians = [one.latency_ms["total"].p50 for one in found]
    print(f"{name}: other programs took {taken} of the processor")
    print(f"  ratios {' '.join(f'{one:.3f}' for one in ratios)}")
    print(f"  p50 of the first {min(medians):.2f} to {max(medians):.2f} ms, the quickest of all {quickest:.2f} ms")
    print(f"  intervals {json.dumps([[one.speedup.low, one.speedup.high] for one in found if one.speedup])}")
    return harness.verdict(f"{name}, furthest from the median {middle:.3f}", furthest(ratios), limit, digits=3)


def furthest(ratios: list[float]) -> float:
    """Returns the share by which the ratio furthest from the median is off."""
    middle = statistics.median(ratios)
    return max(abs(one - middle) / middle for one in ratios)


if __name__ == "__main__":
    sys.exit(main())
