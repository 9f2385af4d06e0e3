"""Planning a sweep of 10,000 points is cheap: under 5 s and 500 MB, whatever the sweep varies.

    python bench/plan_sweep.py yolo11n_bccd.pt bccd/data.yaml

Each sweep is planned in a process of its own, on an empty store. Exit code 1 where a limit is missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import harness

POINTS = 10_000
WALL_S = 5.0
MEMORY_MB = 500
REPEATS = 3
SWEEPS = {
    "recipes, sizes, calibration, gates": (
        "recipe=x86-cpu_onnxruntime_int8,x86-cpu_openvino_int8", "model.imgsz=range(32,832,32)",
        "passes.int8_static.percentile=range(99,100,0.05)", "passes.int8_static.method=minmax,percentile",
        "gates.map_drop=0.01,0.02,0.03,0.04,2",
    ),
    "every plan another": (
        "recipe=x86-cpu_onnxruntime_int8", "model.imgsz=range(32,832,32)",
        "passes.int8_static.percentile=range(90,98,0.02)",
    ),
    "pictures to calibrate with": (
        "recipe=x86-cpu_openvino_int8", "data.calibration.images=range(100,200)", "model.imgsz=range(32,832,32)",
        "evaluate.conf=0.001,0.002,0.003,0.004",
    ),
    "all recipes": (
        "recipe=glob(x86*)", "model.imgsz=range(32,672,32)", "evaluate.conf=range(0.001,0.101,0.001)",
    ),
}  # fmt: skip


def main() -> int:
    parser = harness.arguments(__doc__)
    options = parser.parse_args()
    figures: dict = {"machine": harness.announce(), "load": os.getloadavg()[0], "sweeps": {}}
    if figures["load"] > 1:
        print(f"other work runs here (load {figures['load']:.1f}): seconds of the processor say more than wall time\n")
    work = harness.workplace(options.work)
    met = []
    for name, words in SWEEPS.items():
        best = min((planned(words, options, work) for _ in range(REPEATS)), key=lambda run: run["wall_s"])
        figures["sweeps"][name] = best
        print(
            f"{name}: {best['points']:,} points, {best['invalid']:,} invalid, {best['steps_in_points']:,} steps, "
            f"{best['different_steps']:,} different; {best['points'] / best['wall_s']:,.0f} points/s"
        )
        met += [
            harness.verdict("wall time", best["wall_s"], WALL_S, digits=2, unit=" s"),
            harness.verdict("processor time", best["cpu_s"], WALL_S, digits=2, unit=" s"),
            harness.verdict("peak memory", best["memory_mb"], MEMORY_MB, digits=0, unit=" MB"),
            harness.verdict("points", best["points"], POINTS, least=True, digits=0),
        ]
    return harness.conclude(options, figures, met)


def planned(words: tuple[str, ...], options, work: Path) -> dict:
    """Plans a sweep and returns its counts, wall and processor time in seconds, and peak memory in MB."""
    command = [
        sys.executable, "-m", "edgecompile", "plan", "-m", *words, "--json",
        f"model.weights={options.weights.resolve()}", f"data.path={options.data.resolve()}",
        f"data.validation.split={options.split}",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": harness.package_path(), "EDGECOMPILE_CACHE": str(work / "cache")}
    began = time.perf_counter()
    output = work / "plan.json"
    with output.open("wb") as stream:
        process = subprocess.Popen(command, cwd=work, env=environment, stdout=stream)
        _, code, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    found = json.loads(output.read_bytes())
    return {
        "points": len(found["points"]),
        **{key: found[key] for key in ("invalid", "steps_in_points", "different_steps")},
        "wall_s": round(wall, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "memory_mb": round(usage.ru_maxrss / 1024, 1),
        "exit_code": os.waitstatus_to_exitcode(code),
    }


if __name__ == "__main__":
    sys.exit(main())
