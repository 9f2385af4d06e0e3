"""`edgecompile tune` never makes a bundle slower: tunes it again and again, and measures each choice anew.

    python bench/tune.py yolo11n_bccd.pt bccd/data.yaml --imgsz 320 --runs 10 --minutes 2

Builds bundles for OpenVINO, ONNX Runtime and ncnn, or takes those of `--bundles`. Each run begins without an earlier
choice. Where something was chosen, the bundle so opened and the bundle as it says itself take turns once more, in
processes of their own: what decides is the interval of that ratio, which the tuning has not seen.
Exit code 1 where a bundle is proven slower by its tuning.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import harness

from edgecompile.runtime.archive import Archive
from edgecompile.runtime.backends import Setting
from edgecompile.runtime.measure import Subject, golden_picture
from edgecompile.runtime.measured_process import MeasuredProcess
from edgecompile.runtime.paired_trial import Comparison, compare
from edgecompile.runtime.target import read_target
from edgecompile.runtime.tuning import find_setting, own_setting

RECIPES = ("x86-cpu_openvino_int8", "x86-cpu_onnxruntime_int8", "raspberry-pi-5_ncnn_fp32")


def main() -> int:
    parser = harness.arguments(__doc__)
    parser.add_argument("--runs", type=int, default=10, help="how often each bundle is tuned (default 10)")
    parser.add_argument("--minutes", default="2", help="of each tuning (default 2)")
    parser.add_argument("--seconds", type=float, default=30, help="of each measurement afterwards (default 30)")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="recipes to build (default: the three above)")
    parser.add_argument("--bundles", type=Path, nargs="+", help="bundles that were built already, instead of recipes")
    options = parser.parse_args()
    figures = {"machine": harness.announce()}
    work = harness.workplace(options.work)
    os.environ["EDGECOMPILE_DEVICE_CACHE"] = str(work / "device-cache")
    bundles = options.bundles or [harness.built(harness.build(recipe, options, work)) for recipe in options.recipes]
    met = []
    for bundle in bundles:
        slower, runs = 0, []
        for number in range(1, options.runs + 1):
            harness.run([sys.executable, "-m", "edgecompile", "tune", bundle, "--reset"])
            command = [sys.executable, "-m", "edgecompile", "tune", bundle, "--json", "--quiet"]
            done = harness.run([*command, "--minutes", options.minutes])
            if done.code:
                sys.exit(f"tuning failed:\n{done.stderr.strip()[-2000:]}")
            tuned = json.loads(done.stdout)
            verdicts = [trial["verdict"] for trial in tuned["trials"]]
            counted = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
            print(f"{bundle.name} {number}: {counted}; chosen: {tuned['tuning']['chosen'] or 'nothing gains'}")
            found = measured_anew(bundle, options.seconds) if tuned["tuning"]["chosen"] else None
            if found:
                print(
                    f"  anew: {found.ratio:.3f} times as fast [{found.low:.3f}-{found.high:.3f}], {found.pairs} pairs"
                )
                slower += found.high < 1
            anew = [found.ratio, found.low, found.high] if found else None
            runs.append({"chosen": tuned["tuning"]["chosen"], "confirmed": tuned["confirmed"], "anew": anew})
        figures[bundle.name] = runs
        met.append(harness.holds(f"{bundle.name}: never slower in {options.runs} runs", slower == 0))
    return harness.conclude(options, figures, met)


def measured_anew(bundle: Path, seconds: float) -> Comparison:
    """Measures a bundle as it was tuned against the bundle as it says itself."""
    with Archive(bundle) as archive, tempfile.TemporaryDirectory() as folder:
        target = read_target(archive)
        picture = golden_picture(archive, Path(folder))
        tuned = find_setting(archive, target, None).setting

        def process(setting: Setting) -> MeasuredProcess:
            words = {"backend": target.name, "options": setting.options, "as_is": True}
            return MeasuredProcess(Subject([picture], setting.threads, bundle, **words).request(), keeps=False)

        with process(tuned) as first, process(own_setting(target)) as second:
            first.ask()
            second.ask()
            return compare(first, second, seconds)


if __name__ == "__main__":
    sys.exit(main())
