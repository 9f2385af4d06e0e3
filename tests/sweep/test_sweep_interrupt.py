"""Ctrl-C in a real sweep: what is done is kept and reported, and the same command goes on where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from execute.plans import until
from execute.stress import workers_below
from rough_measurement import ROUGH

import edgecompile

pytestmark = pytest.mark.slow

PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell hands an ignored Ctrl-C down to background jobs
from edgecompile.cli import main
raise SystemExit(main())
"""
SWEEP = (
    "build", "-m", "x86-cpu_onnxruntime_fp32", "model=sample", "data=sample", "model.imgsz=[192,256]",
    "data.validation.images=8", "evaluate.latency_images=10", "evaluate.conf=0.001,0.002,0.003,0.004",
    *ROUGH,  # a rough latency stands too, so that a point that was done is reused as a whole
)  # fmt: skip


def begin(folder: Path, *more: str) -> subprocess.Popen[str]:
    """Starts the sweep in a process group of its own, as a terminal does."""
    root = str(Path(edgecompile.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *SWEEP, *more],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root, "EDGECOMPILE_CACHE": str(folder / "cache")},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path: Path):
    process = begin(tmp_path)
    while not list(tmp_path.glob("outputs/sweeps/*/0_*/status.json")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "edgecompile: interrupted"
    (folder,) = tmp_path.glob("outputs/sweeps/*")
    results = json.loads((folder / "results.json").read_text())
    built = [point for point in results["points"] if point["state"] == "built"]
    assert 1 <= len(built) < 4
    assert all(point["state"] in ("built", "unfinished") for point in results["points"])
    assert all((folder / point["bundle"]).is_file() for point in built)
    assert len(out.splitlines()) == len(built)  # the bundles
    assert f"edgecompile: {len(built)} of 4 points: {len(built)} built, 0 failed; " in err
    assert (folder / "report.html").is_file()

    process = begin(tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert len(out.splitlines()) == 4
    again = max(tmp_path.glob("outputs/sweeps/*"))
    assert again != folder
    steps = [json.loads(file.read_text())["steps"] for file in sorted(again.glob("*/status.json"))]
    assert [one["run"] for one in steps[: len(built)]] == [0] * len(built)
    assert all(one["reused"] >= 3 for one in steps)  # export, simplify, compile at least
    assert json.loads((again / "results.json").read_text())["sharing"]["saved_s"] > 0
    digests = [
        json.loads((one / "report.json").read_text())["run"]["bundle"]["sha256"]
        for one in (folder, again)
        for one in sorted(one.glob("0_*"))
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("launcher", "plugin"),
    [("joblib", "hydra_plugins.hydra_joblib_launcher"), ("submitit_local", "hydra_plugins.hydra_submitit_launcher")],
)
def test_ctrl_c_ends_what_a_launcher_started(tmp_path: Path, launcher: str, plugin: str):
    pytest.importorskip(plugin)
    process = begin(tmp_path, f"hydra/launcher={launcher}")
    while not list(tmp_path.glob("outputs/sweeps/*/*/status.json")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "edgecompile: interrupted"
    if launcher != "joblib":  # its processes may be in the middle of anything when Ctrl-C reaches them
        assert "Traceback" not in err
    assert out.splitlines()
    until(lambda: not workers_below(tmp_path))  # launched jobs work in the folder, their steps in the store
    (folder,) = tmp_path.glob("outputs/sweeps/*")
    assert len(list(folder.glob("*/*.bundle.zip"))) < 4
