"""Speed and memory against Ultralytics' own OpenVINO INT8 export of the same checkpoint, paired.

    python bench/latency_vs_ultralytics.py yolo11n_bccd.pt bccd/data.yaml --imgsz 320 --threads 2

Raw latency: bare OpenVINO and ONNX Runtime sessions on one input, each computing in the precision in which it ships
(a bundle says so; Ultralytics leaves it to OpenVINO). Prediction: a picture in memory to boxes, through
`edgecompile.runtime.load(bundle).predict` and through `YOLO(export).predict`. Every candidate has a process of its
own bound to the same cores; one is active at a time, in turns, and ratios are medians over the rounds. Start-up
(import, load, first prediction; the quickest) and peak memory (the median) come from fresh processes: of edgecompile
from the second start on, which takes the model that the first one compiled and kept; its first start, with an empty
device cache, stands beside. Exit code 1 where a figure misses its limit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import harness
from harness import Candidate

FLOAT_OPENVINO, INT8_OPENVINO = "x86-cpu_openvino_fp32", "x86-cpu_openvino_int8"
FLOAT_ORT, INT8_ORT = "x86-cpu_onnxruntime_fp32", "x86-cpu_onnxruntime_int8"


def main() -> int:
    parser = harness.arguments(__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads and cores of every candidate (default 2)")
    parser.add_argument("--rounds", type=int, default=15, help="how often each candidate has its turn (default 15)")
    parser.add_argument("--starts", type=int, default=5, help="fresh processes for start-up and memory (default 5)")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures to predict on")
    parser.add_argument("--export", type=Path, help="Ultralytics' *_int8_openvino_model folder, where already made")
    options = parser.parse_args()
    figures = {"machine": harness.announce()}
    work = harness.workplace(options.work)

    bundles = {
        recipe: harness.built(harness.build(recipe, options, work))
        for recipe in (FLOAT_OPENVINO, INT8_OPENVINO, FLOAT_ORT, INT8_ORT)
    }
    export = options.export or Path(harness.ultralytics("export", options, "--out", work)["path"])
    met = raw(options, figures, work, bundles, export)
    met += prediction(options, figures, work, bundles[INT8_OPENVINO], export)
    return harness.conclude(options, figures, met)


def raw(options: argparse.Namespace, figures: dict, work: Path, bundles: dict[str, Path], export: Path) -> list[bool]:
    """Times the bare models in turns."""
    models = {recipe: harness.unpack(bundle, work / "artifacts" / recipe) for recipe, bundle in bundles.items()}
    candidates = {
        "ultralytics": Candidate.start("ultralytics", "openvino", next(export.glob("*.xml")), options.threads)
    }
    for recipe, model in models.items():
        kind = "openvino" if "openvino" in recipe else "onnxruntime"
        precision = harness.manifest(bundles[recipe])["target"]["options"].get("INFERENCE_PRECISION_HINT")
        hint = ("--precision", precision) if precision else ()
        candidates[recipe] = Candidate.start(recipe, kind, model, options.threads, *hint)
    harness.round_robin(list(candidates.values()), options.rounds)
    print(f"raw latency, {options.threads} threads, {options.rounds} rounds")
    figures["raw_ms"] = table(candidates)
    figures["bare_peak_memory_mb"] = {name: candidate.end() for name, candidate in candidates.items()}
    met = [
        harness.verdict(
            "OpenVINO INT8 / Ultralytics' OpenVINO INT8",
            harness.ratio(candidates[INT8_OPENVINO], candidates["ultralytics"]), 1.0, digits=3,
        ),
        harness.verdict(
            "OpenVINO float / INT8",
            harness.ratio(candidates[FLOAT_OPENVINO], candidates[INT8_OPENVINO]), 1.7, least=True, digits=2, unit="x",
        ),
        harness.verdict(
            "ONNX Runtime float / INT8",
            harness.ratio(candidates[FLOAT_ORT], candidates[INT8_ORT]), 1.3, least=True, digits=2, unit="x",
        ),
    ]  # fmt: skip
    print()
    return met


def prediction(options: argparse.Namespace, figures: dict, work: Path, bundle: Path, export: Path) -> list[bool]:
    """Times whole predictions in turns, then start-up and memory of fresh processes."""
    more = ("--pictures", options.pictures.resolve(), "--imgsz", str(options.imgsz))

    def ours(cache: Path) -> Candidate:
        variables = {"EDGECOMPILE_DEVICE_CACHE": str(cache)}
        return Candidate.start("edgecompile", "bundle", bundle, options.threads, *more, **variables)

    def first_start() -> tuple[float, float]:
        """Starts as on a device that has never run the bundle; returns milliseconds and peak memory."""
        with tempfile.TemporaryDirectory() as empty:
            candidate = ours(Path(empty))
            candidate.call(20)
            return candidate.started["start_ms"], candidate.end()

    def pair() -> tuple[Candidate, Candidate]:
        return ours(kept), Candidate.start("ultralytics", "ultralytics", export, options.threads, *more)

    kept = work / "device-cache"
    firsts: list[tuple[float, float]] = []
    starts: dict[str, list[float]] = {"edgecompile": [], "ultralytics": []}
    memory: dict[str, list[float]] = {"edgecompile": [], "ultralytics": []}
    for turn in range(options.starts + 1):  # the last pair stays for the timing; the first start of each is cold
        for candidate in (pairing := pair()):
            if turn:
                starts[candidate.name].append(candidate.started["start_ms"])
            if turn < options.starts:
                candidate.call(20)
                peak = candidate.end()
                if turn:
                    memory[candidate.name].append(peak)
        if turn < options.starts:
            firsts.append(first_start())
    mine, theirs = pairing
    harness.round_robin(pairing, options.rounds)
    print(f"predict, a picture in memory to boxes, {options.threads} threads, {options.rounds} rounds")
    figures["predict_ms"] = table({"edgecompile": mine, "ultralytics": theirs})
    for candidate in pairing:
        memory[candidate.name].append(candidate.end())
    begin = {name: min(values) for name, values in starts.items()}  # whatever else runs only makes a start longer
    peak = {name: statistics.median(values) for name, values in memory.items()}
    first, first_peak = min(one for one, _ in firsts), statistics.median(one for _, one in firsts)
    bare = figures["bare_peak_memory_mb"][INT8_OPENVINO]
    figures.update(start_ms=begin, peak_memory_mb=peak, first_start_ms=first, first_start_peak_memory_mb=first_peak)
    for name in begin:
        print(f"{name:28s} import + first prediction {begin[name]:8.0f} ms   peak memory {peak[name]:7.1f} MB")
    print(
        f"{'edgecompile, first start':28s} import + first prediction {first:8.0f} ms   peak memory {first_peak:7.1f} MB"
    )
    print(f"{'OpenVINO alone':28s} import, compile, one inference of the bundle's model: peak memory {bare:7.1f} MB")
    print(f"first start / Ultralytics' {first / begin['ultralytics']:.3f}")
    less = peak["edgecompile"] / peak["ultralytics"]
    sooner = begin["edgecompile"] / begin["ultralytics"]
    return [
        harness.verdict("predict / Ultralytics' predict", harness.ratio(mine, theirs), 1.0, digits=3),
        harness.verdict("peak memory / Ultralytics'", less, 1 / 4, digits=3),
        harness.verdict("import + first prediction / Ultralytics'", sooner, 1 / 3, digits=3),
    ]


def table(candidates: dict[str, Candidate]) -> dict[str, dict[str, float]]:
    """Prints p50 and p95 of all candidates, with how many times as fast as the first each is, and returns them."""
    first = next(iter(candidates.values()))
    rows = {}
    for name, one in candidates.items():
        rows[name] = {f"p{rank}": harness.percentile(one.samples, rank) for rank in (50, 95, 99)}
        rows[name]["first_over_this"] = harness.ratio(first, one)
        print(
            f"{name:28s} p50 {rows[name]['p50']:8.2f} ms   p95 {rows[name]['p95']:8.2f} ms   "
            f"{first.name}/this {rows[name]['first_over_this']:.2f}x"
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
