"""What swapping SiLU costs in accuracy and brings in speed, against Ultralytics' own OpenVINO INT8 export.

    python bench/swap_activation.py yolo11n_bccd.pt bccd/data.yaml --imgsz 320 --threads 2

Builds the OpenVINO INT8 bundle with `swap_activation` for several seeds, judges it on two splits against the float
model of the checkpoint, and times bare OpenVINO sessions of the plain and the swapped bundle and of Ultralytics' export
in turns. No seed is chosen: losses are means over all of them. Exit code 1 where the mean loss is beyond 0.3 points, or
the swapped artifact is less than 1.25 times as fast as Ultralytics'.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import harness
from harness import Candidate

RECIPE = "x86-cpu_openvino_int8"
MOST_LOST, LEAST_FASTER = 0.003, 1.25


def main() -> int:
    parser = harness.arguments(__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads and cores of every candidate (default 2)")
    parser.add_argument("--rounds", type=int, default=15, help="how often each candidate has its turn (default 15)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the refit (default 0 1 2)")
    parser.add_argument("--steps", type=int, help="training steps (default: those of the pass)")
    parser.add_argument("--splits", nargs="+", default=["val", "test"], help="that are judged (default val test)")
    options = parser.parse_args()
    figures: dict[str, object] = {"machine": harness.announce()}
    work = harness.workplace(options.work)
    bundles, losses = {}, []
    for seed in options.seeds:
        for split in options.splits:
            options.split = split
            bundles[seed] = harness.built(harness.build(RECIPE, options, work, *swapped(options, seed)))
            found = harness.manifest(bundles[seed])["figures"]
            losses.append(found["map_drop"])
            print(f"seed {seed}, {options.split}: {found['map50_95']:.4f}, loses {found['map_drop']:+.4f}", flush=True)
    plain = harness.built(harness.build(RECIPE, options, work))
    figures["losses"] = losses
    met = [
        harness.verdict("mean loss over seeds and splits", statistics.mean(losses), MOST_LOST, digits=4),
        faster(options, work, {"plain": plain, "swapped": bundles[options.seeds[0]]}),
    ]
    return harness.conclude(options, figures, met)


def swapped(options: argparse.Namespace, seed: int) -> list[str]:
    """Returns the overrides that add the pass."""
    words = ["+pass@passes=swap_activation", f"passes.swap_activation.seed={seed}", "passes.int8_static.repair=off"]
    return words if options.steps is None else [*words, f"passes.swap_activation.steps={options.steps}"]


def faster(options: argparse.Namespace, work: Path, bundles: dict[str, Path]) -> bool:
    """Times the bare models in turns."""
    export = Path(harness.ultralytics("export", options, "--out", work)["path"])
    models = {name: harness.unpack(bundle, work / "artifacts" / name) for name, bundle in bundles.items()}
    models = {"ultralytics": next(export.glob("*.xml")), **models}
    timed = {name: Candidate.start(name, "openvino", model, options.threads) for name, model in models.items()}
    harness.round_robin(list(timed.values()), options.rounds)
    for name, candidate in timed.items():
        low, middle, high = (harness.percentile(candidate.samples, rank) for rank in (25, 50, 75))
        print(f"{name:12s} p50 {middle:7.2f} ms, quartiles {low:.2f} to {high:.2f} ms")
        candidate.end()
    ratio = harness.ratio(timed["ultralytics"], timed["swapped"])
    return harness.verdict("Ultralytics' OpenVINO INT8 / swapped", ratio, LEAST_FASTER, least=True, digits=2, unit="x")


if __name__ == "__main__":
    sys.exit(main())
