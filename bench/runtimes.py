"""Which runtime to take on this CPU: accuracy of each, in float and INT8, and latency in turns.

    python bench/runtimes.py yolo11n_bccd.pt bccd/data.yaml --imgsz 320 --split test

Builds one bundle for each recipe and reads its accuracy out of its manifest. Then all of them predict the same pictures
in turns, each in a process of its own bound to as many cores, so that ratios hold whatever else the machine does; the
milliseconds hold for a quiet machine only. Exit code 1 where a figure of accuracy misses its limit.
"""

from __future__ import annotations

import statistics
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import harness

FLOAT_LIMIT, INT8_LIMIT = 0.003, 0.01
"""Most mAP50-95 that a bundle may lose against the float model."""
RECIPES = tuple(
    f"{target}_{precision}"
    for target in ("x86-cpu_onnxruntime", "x86-cpu_openvino", "raspberry-pi-5_ncnn", "x86-cpu_litert")
    for precision in ("fp32", "int8")
)


def main() -> int:
    parser = harness.arguments(__doc__)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each (default 20)")
    parser.add_argument("--threads", type=int, default=2, help="of each (default 2)")
    options = parser.parse_args()
    figures: dict[str, object] = {"machine": harness.announce()}
    work = harness.workplace(options.work)
    words = ("measurement.seconds=0.1", "measurement.tolerance=10")
    bundles = {name: harness.built(harness.build(name, options, work, *words)) for name in options.recipes}
    pictures = options.data.parent / "images" / options.split
    candidates = [
        harness.Candidate.start(name, "bundle", bundle, options.threads, "--pictures", pictures)
        for name, bundle in bundles.items()
    ]
    harness.round_robin(candidates, options.rounds)
    met = []
    print(f"{'':32s}{'mAP50-95':>9s}{'drop':>9s}{'size MB':>9s}{'ms':>8s}{'ratio':>7s}{'peak MB':>9s}")
    for candidate, bundle in zip(candidates, bundles.values(), strict=True):
        figures[candidate.name] = row(candidate, candidates, bundle)
        told = harness.manifest(bundle)["figures"]
        limit = INT8_LIMIT if candidate.name.endswith("_int8") else FLOAT_LIMIT
        met.append(told["map_drop"] <= limit)
    print(
        f"\nms: median, picture in memory to boxes; ratio: to {options.recipes[0]}, median over {options.rounds} turns"
    )
    met = [harness.holds(f"accuracy of {name}", one) for name, one in zip(bundles, met, strict=True)]
    return harness.conclude(options, figures, met)


def row(candidate: harness.Candidate, candidates: Sequence[harness.Candidate], bundle: Path) -> dict[str, float]:
    """Prints and returns what was found of one bundle."""
    manifest = harness.manifest(bundle)
    with zipfile.ZipFile(bundle) as archive:
        parts = archive.infolist()
    found = {
        "map50_95": manifest["figures"]["map50_95"],
        "drop": manifest["figures"]["map_drop"],
        "size_mb": sum(one.file_size for one in parts if one.filename.startswith("artifact/")) / 1e6,
        "ms": statistics.median(candidate.samples),
        "ratio": harness.ratio(candidate, candidates[0]),
        "memory_mb": candidate.end(),
    }
    formats = ("9.4f", "9.4f", "9.2f", "8.2f", "7.2f", "9.0f")
    print(f"{candidate.name:32s}" + "".join(f"{one:{how}}" for one, how in zip(found.values(), formats, strict=True)))
    return found


if __name__ == "__main__":
    sys.exit(main())
