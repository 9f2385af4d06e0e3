"""Proves that a broken INT8 model cannot ship: INT8 of the whole graph, box decoding included.

    python bench/negative_control.py yolo11n_bccd.pt bccd/data.yaml --imgsz 320 --split test

Boxes (0 to 320 pixels) and scores (0 to 1) share one output tensor and so one scale: every score becomes 0. The build
must end with exit code 6 and one line that names the gate and the figure, and leave no bundle.
"""

from __future__ import annotations

import re
import sys

import harness


def main() -> int:
    parser = harness.arguments(__doc__)
    parser.add_argument("--recipe", default="x86-cpu_onnxruntime_int8", help="shipped recipe to break")
    options = parser.parse_args()
    figures: dict = {"machine": harness.announce()}
    work = harness.workplace(options.work)
    broken = ("passes.int8_static.exclude=[]", "gates.map_drop=0.01")
    done = harness.build(options.recipe, options, work, *broken)
    said = next((line for line in done.stderr.splitlines() if "gate map_drop:" in line), "")
    print(f"exit code {done.code}\n{said}\n")
    found = re.search(r"([\d.]+) → ([\d.]+)", said)
    left = sorted(str(path) for path in (work / "outputs").rglob("*.bundle.zip"))
    figures.update(exit_code=done.code, message=said, bundles=left)
    met = [
        harness.holds("the build ends with exit code 6", done.code == 6, str(done.code)),
        harness.holds("it names the gate and the figure", bool(found), done.stderr[-500:]),
        harness.verdict("mAP50-95 of the whole graph in INT8", float(found[2]) if found else 1.0, 0.01),
        harness.holds("no bundle is left behind", not left, ", ".join(left)),
    ]
    return harness.conclude(options, figures, met)


if __name__ == "__main__":
    sys.exit(main())
