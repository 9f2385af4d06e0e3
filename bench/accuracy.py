"""Accuracy of float and INT8 bundles against Ultralytics' own validation of the checkpoint.

    python bench/accuracy.py yolo11n_bccd.pt bccd/data.yaml --imgsz 320 --split test

Builds one bundle for each recipe, reads mAP50-95 out of its manifest, and lets Ultralytics validate the checkpoint with
`val(rect=False)` on the same split. Exit code 1 where a figure misses its limit.
"""

from __future__ import annotations

import sys

import harness

FLOAT_LIMIT = 0.003
"""How far a float bundle may lie from Ultralytics, up or down."""

RECIPES = {  # recipe: most mAP50-95 that it may lose against the float model; None for a float recipe
    "x86-cpu_onnxruntime_fp32": None,
    "x86-cpu_openvino_fp32": None,
    "x86-cpu_onnxruntime_int8": 0.010,
    "x86-cpu_openvino_int8": 0.005,
}


def main() -> int:
    parser = harness.arguments(__doc__)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES, metavar="NAME")
    options = parser.parse_args()
    figures = {"machine": harness.announce()}
    work = harness.workplace(options.work)

    theirs = harness.ultralytics("val", options, "--split", options.split)
    figures["ultralytics"] = theirs
    print(f"Ultralytics val of the checkpoint: mAP50-95 {theirs['map50_95']:.4f}, mAP50 {theirs['map50']:.4f}\n")

    met = []
    for recipe in options.recipes:
        found = harness.manifest(harness.built(harness.build(recipe, options, work)))["figures"]
        figures[recipe] = found
        print(f"{recipe}: mAP50-95 {found['map50_95']:.4f}, mAP50 {found['map50']:.4f}, drop {found['map_drop']:.4f}")
        for name, one in found["per_class"].items():
            before = found["reference"]["per_class"][name]["map50_95"]
            print(f"        {name:16s} {before:.4f} → {one['map50_95']:.4f}  ({one['objects']} objects)")
        if RECIPES[recipe] is None:
            apart = abs(found["map50_95"] - theirs["map50_95"])
            met.append(harness.verdict("|mAP50-95 - Ultralytics|", apart, FLOAT_LIMIT))
        else:
            met.append(harness.verdict("mAP50-95 drop", found["map_drop"], RECIPES[recipe]))
        print()
    return harness.conclude(options, figures, met)


if __name__ == "__main__":
    sys.exit(main())
