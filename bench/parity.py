"""Figures of float artifacts against Ultralytics' validation, for families and heads of which no trained model is here.

    python bench/parity.py                     # all of them
    python bench/parity.py --only rtdetr yolo26-obb

Makes each model and its labels by `untrained.py`, lets Ultralytics validate the checkpoint with `val(rect=False)`, and
builds it with a float recipe for ONNX Runtime and OpenVINO. Prints a table; docs/accuracy.md has the rows that say
something. Exit code 1 where a figure lies farther than 0.003 from Ultralytics'.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import harness
from untrained import IMAGE_SIZE, KINDS

LIMIT = 0.003
LEAST = 0.05
"""Below it, a figure says little: hardly anything is found that labels know."""
RECIPES = ("x86-cpu_onnxruntime_fp32", "x86-cpu_openvino_fp32")
UNMEASURED = ("measurement.seconds=0.1", "measurement.tolerance=10")
"""Latency is no question here."""
PICTURES = Path(__file__).resolve().parents[1] / "edgecompile/sample/images/val"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="NAME")
    parser.add_argument("--work", type=Path, help="folder for models, caches and bundles (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures: dict[str, object] = {"machine": harness.announce()}
    work = harness.workplace(options.work)
    met, rows = [], []
    for name in options.only:
        theirs, ours = compared(name, work)
        if len(ours) < len(RECIPES):
            met.append(False)
            continue
        figures[name] = {"ultralytics": theirs, **ours}
        names = ["top1", "top5"] if KINDS[name].task == "classify" else ["map50_95", "map50"]
        names += ["box_map50_95"] if "box_map50_95" in theirs else []
        apart = max(abs(found[metric] - theirs[metric]) for found in ours.values() for metric in names)
        met.append(harness.verdict(f"{name}: |figure - Ultralytics|", apart, LIMIT))
        if theirs[names[0]] < LEAST:
            print(f"        {name}: {theirs[names[0]]:.4f} says little")
        rows.append([name, KINDS[name].task, *(f"{found[names[0]]:.4f}" for found in (theirs, *ours.values()))])
    print("\n| model | task | Ultralytics | ONNX Runtime | OpenVINO |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return harness.conclude(options, figures, met)


def compared(name: str, work: Path) -> tuple[dict, dict]:
    """Returns the figures of Ultralytics and, by recipe, of the bundles of a model, as far as they are built."""
    folder = work / name
    made = harness.run([sys.executable, harness.HERE / "untrained.py", name, PICTURES, folder])
    if made.code:
        sys.exit(f"untrained.py failed:\n{made.stderr.strip()[-2000:]}")
    task, weights = KINDS[name].task, folder / f"{name}.pt"
    data = folder if task == "classify" else folder / "data.yaml"
    options = argparse.Namespace(weights=weights, data=data, imgsz=IMAGE_SIZE)
    verb = "val-classify" if task == "classify" else "val"
    theirs = harness.ultralytics(verb, options, "--split", "val", "--task", task)
    ours = {}
    for recipe in RECIPES:
        words = [f"recipe={recipe}", f"model.weights={weights}", f"model.imgsz={IMAGE_SIZE}", f"data.path={data}"]
        words += ["data.validation.split=val", *UNMEASURED, *harness.NO_GATES]
        done = harness.edgecompile("build", *words, work=work)
        if done.code:
            print(f"MISSED  {name}: {done.stderr.strip().splitlines()[-1]}")
            break
        ours[recipe] = harness.manifest(harness.built(done))["figures"]
    return theirs, ours


if __name__ == "__main__":
    sys.exit(main())
