"""How often INT8 meets a gate on accuracy by itself, what the repair costs, and NNCF's accuracy control beside it.

    python bench/repair_pairs.py --out PAIRS
    python bench/repair.py PAIRS

Builds each pair of model and data for four runtimes, first plain INT8 (`repair: off`), then with repair, each pair with
a store of its own, and prints a row a build: drop of plain INT8, drop of what ships, share of the operations in float,
how many times the time of plain INT8 that takes (estimated; measured in turns where the runtime is here), seconds of
plain INT8 (calibration, quantization, compilation, evaluation), and those that the repair took beyond. Latency is
measured for a few seconds and to no tolerance: accuracy is what this judges.
Exit code 1 where fewer than 95 % of the builds ship within the gate, or one ships beyond it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import harness
from tasks import SAMPLE, SUBJECTS

RECIPES = {
    "ONNX Runtime": "x86-cpu_onnxruntime_int8",
    "OpenVINO": "x86-cpu_openvino_int8",
    "ncnn": "raspberry-pi-5_ncnn_int8",
    "TensorRT (Q/DQ)": "jetson-orin-nano_tensorrt_int8",
}
TARGETS = {"ONNX Runtime": "target=x86-cpu-vnni_onnxruntime"}
PLAIN_STEPS = ("calibration", "quantization", "fp16", "compile", "evaluate")
ROUGH = ("evaluate.latency_images=10", "measurement.seconds=3", "measurement.tolerance=10")
RANKING_STEPS = ("simulated_ranges", "sensitivity")
SHARE, SLOWER = 0.95, 3.0


@dataclass(frozen=True)
class Pair:
    """A model and data, as overrides of a recipe."""

    name: str
    words: tuple[str, ...]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, help="folder that bench/repair_pairs.py wrote")
    parser.add_argument("--gate", type=float, default=0.005, help="largest drop of the main metric (default 0.005)")
    parser.add_argument("--only", nargs="+", help="names of pairs")
    parser.add_argument("--runtimes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--work", type=Path, help="folder for caches and bundles (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures: dict[str, object] = {"machine": harness.announce(), "gate": options.gate}
    work = harness.workplace(options.work)
    sample = shutil.copytree(SAMPLE, work / "sample", dirs_exist_ok=True)
    rows = []
    print("| pair | runtime | float | plain drop | drop | in float | slower | plain INT8, s | repair, s | |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for pair in pairs_in(options.pairs, sample):
        if options.only and pair.name not in options.only:
            continue
        for runtime in options.runtimes:
            row = built(pair, runtime, options.gate, work)
            rows.append(row)
            print(line(row), flush=True)
        shutil.rmtree(work / pair.name, ignore_errors=True)
    figures["rows"] = rows
    shipped = [row for row in rows if row["code"] == 0]
    repaired = [row for row in shipped if row["repair_s"]]
    print(f"\n{len(shipped)} of {len(rows)} ship within {options.gate:g}, {len(repaired)} of them repaired")
    met = [
        harness.verdict("share that ships within the gate", len(shipped) / len(rows), SHARE, least=True),
        harness.verdict("shipped beyond the gate", sum(row["drop"] > options.gate for row in shipped), 0),
    ]
    if repaired:
        ratios = [(row["plain_s"] + row["repair_s"]) / row["plain_s"] for row in repaired]
        met.append(harness.verdict("time of INT8 with repair / plain, median", statistics.median(ratios), SLOWER))
    return harness.conclude(options, figures, met)


def pairs_in(folder: Path, sample: Path) -> list[Pair]:
    """Returns the pairs of the folder, and the tasks of the embedded sample."""
    data = folder.resolve() / "parts/data.yaml"
    trained = [
        Pair(file.stem, (f"model.weights={file.resolve()}", "model.imgsz=192", f"data.path={data}"))
        for file in sorted(folder.glob("*.pt"))
    ]
    tasks = [
        Pair(
            f"sample {subject.task}",
            (f"model={subject.group}", f"data={subject.group}", f"data.validation.split={subject.split}"),
        )
        for subject in SUBJECTS
    ]
    return [*trained, *tasks]


def built(pair: Pair, runtime: str, gate: float, work: Path) -> dict:
    """Builds a pair for a runtime, plain and with repair, and returns the row."""
    words = [f"recipe={RECIPES[runtime]}", *pair.words, *harness.NO_GATES]
    words += [word for word in (TARGETS.get(runtime),) if word]
    words += [*ROUGH, f"gates.accuracy_drop={gate}"]
    cache = work / pair.name / "cache"
    plain_dir, dir_ = (work / pair.name / f"{RECIPES[runtime]}-{kind}" for kind in ("plain", "repair"))
    harness.edgecompile(
        "build", *words, "passes.int8_static.repair=off", f"hydra.run.dir='{plain_dir}'", work=work, cache=cache
    )
    plain = json.loads((plain_dir / "report.json").read_text())
    seconds = {step["name"]: step["run"]["wall_s"] or 0 for step in plain["steps"]}
    done = harness.edgecompile("build", *words, f"hydra.run.dir='{dir_}'", work=work, cache=cache)
    report = json.loads((dir_ / "report.json").read_text())
    figures, repair = report["figures"], report["repair"]
    return {
        "pair": pair.name,
        "runtime": runtime,
        "code": done.code,
        "float": figures["reference"][figures["main"]],
        "plain_drop": drop_of(plain["figures"]),
        "drop": drop_of(figures),
        "cost": repair["candidates"][-1]["cost"] if repair and repair["candidates"] else 0.0,
        "slowdown": repair["candidates"][-1]["slowdown"] if repair and repair["candidates"] else None,
        "over_plain": (report["measured"] or {}).get("over_plain"),
        "tried": len(repair["candidates"]) if repair else 0,
        "plain_s": sum(seconds.get(name, 0) for name in PLAIN_STEPS),
        "repair_s": seconds_of(done.stderr) if repair else 0.0,
        "why": repair["why_not"] if repair else "",
    }


def seconds_of(told: str) -> float:
    """Returns how long the steps of the search took, by the lines that a build prints: rankings and mixes, without what
    judges no accuracy."""
    lines = re.findall(r"^\[\d+/\d+\] (\S+): done \(([\d.]+) s", told, re.MULTILINE)
    return sum(float(seconds) for name, seconds in lines if name in (*PLAIN_STEPS, *RANKING_STEPS))


def drop_of(figures: dict) -> float:
    return figures["reference"][figures["main"]] - figures[figures["main"]]


def line(row: dict) -> str:
    """Returns a row of the table."""
    end = "ships" if row["code"] == 0 else f"exit {row['code']}: {row['why']}"
    numbers = (f"{row[name]:.4f}" for name in ("float", "plain_drop", "drop"))
    slower = f"{row['slowdown']:.2f}" if row["slowdown"] else ""
    slower += f", measured {1 / row['over_plain']['ratio']:.2f}" if row["over_plain"] else ""
    costs = (f"{row['cost']:.0%}, {row['tried']} tried", slower, f"{row['plain_s']:.1f}", f"{row['repair_s']:.1f}")
    return "| " + " | ".join((row["pair"], row["runtime"], *numbers, *costs, end)) + " |"


if __name__ == "__main__":
    sys.exit(main())
