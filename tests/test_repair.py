"""INT8 that misses its gate on accuracy is repaired, and says how; the same blocks again without a search; the wrong
blocks in float do not do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import program
import pytest
from needed import needs
from rough_measurement import ROUGH

from edgecompile.bundle.lock import open_locked

needs("ultralytics", "onnxruntime")

pytestmark = pytest.mark.slow

TIGHT = 0.001
"""A drop that plain INT8 of the sample does not stay within."""
QUICK = ("evaluate.latency_images=10", *ROUGH, "--quiet")
RUNTIMES = {
    "onnxruntime": "x86-cpu-vnni_onnxruntime",
    "openvino": "x86-cpu_openvino",
    "ncnn": "raspberry-pi-5_ncnn",
    "tensorrt": "jetson-orin-nano_tensorrt",
}


def edgecompile(folder: Path, *words: str, cores: str = "") -> subprocess.CompletedProcess[str]:
    places = {"EDGECOMPILE_CACHE": str(folder / "cache")}
    if not cores:
        return program.edgecompile(folder, *words, **places)
    command = ["taskset", "-c", cores, sys.executable, "-m", "edgecompile", *words]
    return subprocess.run(command, cwd=folder, env={**os.environ, **places}, capture_output=True, text=True)


def build(folder: Path, kind: str, *words: str) -> subprocess.CompletedProcess[str]:
    return edgecompile(folder, "build", f"target={RUNTIMES[kind]}", f"gates.accuracy_drop={TIGHT}", *QUICK, *words)


def run_dir(folder: Path, finished: subprocess.CompletedProcess[str]) -> Path:
    return folder / Path(finished.stdout.splitlines()[-1]).parent


@pytest.fixture(scope="module")
def repaired(shared):
    """The bundle of the sample for ONNX Runtime, repaired."""
    finished = build(shared, "onnxruntime", "name=repaired")
    assert finished.returncode == 0, finished.stderr
    return run_dir(shared, finished)


@pytest.mark.parametrize("kind", ["openvino", "ncnn", "tensorrt"])
def test_every_runtime_ships_within_the_gate(shared, kind):
    finished = build(shared, kind, "passes.int8_static.repair=off")
    plain_met = finished.returncode == 0
    assert plain_met or finished.returncode == 6, finished.stderr
    finished = build(shared, kind)
    assert finished.returncode == 0, finished.stderr
    report = json.loads((run_dir(shared, finished) / "report.json").read_text())
    assert report["figures"]["map_drop"] <= TIGHT
    assert (report["repair"] is None) == plain_met
    if report["repair"]:
        precisions = report["figures"]["coverage"]["by_precision"]
        assert precisions["int8"]["layers"] > 0
        assert len(precisions) > 1, "something is in float"


def test_the_report_and_the_lock_say_what_was_done(repaired):
    report = json.loads((repaired / "report.json").read_text())
    repair = report["repair"]
    assert repair["plain_drop"] > TIGHT >= report["figures"]["map_drop"]
    chosen = repair["candidates"][-1]
    assert chosen["met"]
    assert chosen["accuracy"] == pytest.approx(report["figures"]["map50_95"], abs=1e-6)
    by_precision = {name: [b["name"] for b in repair["blocks"] if b["precision"] == name] for name in ("int8", "float")}
    assert set(by_precision["float"]) <= set(chosen["blocks"])
    assert by_precision["int8"]
    assert any("is repaired: " in note for note in report["notes"])
    lock = open_locked(repaired).lock
    assert lock.repair is not None
    assert not [step.name for step in lock.steps if step.name.startswith("plain.")], "measured beside, not shipped"
    step = next(step for step in lock.steps if step.name == "quantization")
    assert step.params["keep_float"] == list(lock.repair.chosen.keep_float)


def test_what_the_repair_cost_is_measured_beside_plain_int8(repaired):
    measured = json.loads((repaired / "report.json").read_text())["measured"]
    over_plain = measured["over_plain"]
    assert over_plain["against"].startswith("plain INT8 on onnxruntime")
    assert over_plain["rounds"] == measured["speedup"]["rounds"]
    inside = next(repaired.glob("*.bundle.zip"))
    with zipfile.ZipFile(inside) as bundle:
        assert not [name for name in bundle.namelist() if b"over_plain" in bundle.read(name)], "no part of the bundle"
    assert "times the time of plain INT8 [" in (repaired / "report.html").read_text()


def test_building_again_repeats_it_without_a_search(shared, repaired):
    again = edgecompile(shared, "reproduce", str(next(repaired.glob("*.bundle.zip"))), "--cache", "empty")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "reproduced: sha256" in again.stdout
    assert "sensitivity" not in again.stderr, "what a search found is in the lock"


def test_another_number_of_cores_finds_the_same(shared, repaired, tmp_path):
    (tmp_path / "cache").mkdir()
    words = (
        f"target={RUNTIMES['onnxruntime']}",
        f"gates.accuracy_drop={TIGHT}",
        *QUICK,
    )
    one = edgecompile(tmp_path, "build", "name=repaired", *words, cores="0")
    assert one.returncode == 0, one.stderr
    digest = json.loads((run_dir(tmp_path, one) / "report.json").read_text())["run"]["bundle"]["sha256"]
    assert digest == json.loads((repaired / "report.json").read_text())["run"]["bundle"]["sha256"]


def test_the_wrong_blocks_in_float_miss_the_gate(shared, repaired):
    """Negative control: the same number of blocks, those that lose least."""
    repair = json.loads((repaired / "report.json").read_text())["repair"]
    least = sorted(repair["blocks"], key=lambda block: block["loss"])[: len(repair["candidates"][-1]["blocks"])]
    names = ",".join(f'"{block["name"]}"' for block in least)
    finished = build(shared, "onnxruntime", f"passes.int8_static.keep_float=[{names}]", "passes.int8_static.repair=off")
    assert finished.returncode == 6, finished.stdout
    assert "gate accuracy_drop" in finished.stderr


def test_what_is_too_slow_is_not_shipped(shared, repaired):
    finished = build(shared, "onnxruntime", "passes.int8_static.repair={max_slowdown:1.001}")
    assert finished.returncode == 6
    assert "ship float" in finished.stderr


def test_a_list_without_auto_is_left_as_it_is(shared, repaired):
    """Whoever quantizes the whole graph sees what comes of it."""
    finished = build(shared, "onnxruntime", "passes.int8_static.exclude=[]")
    assert finished.returncode == 6
    assert "is repaired" not in finished.stderr


def test_the_plan_says_what_would_run_only_then(shared, repaired):
    words = (f"target={RUNTIMES['onnxruntime']}", f"gates.accuracy_drop={TIGHT}")
    told = edgecompile(shared, "plan", *words).stdout
    assert "only where a gate on accuracy is not met: sensitivity; then up to 3 mixes" in told
    assert "only where" not in edgecompile(shared, "plan", *words, "passes.int8_static.repair=off").stdout
    assert "only where" not in edgecompile(shared, "plan", *words, "gates.accuracy_drop=null").stdout
    stated = json.loads(edgecompile(shared, "plan", *words, "--json").stdout)["if_accuracy_is_missed"]
    assert stated == {"steps": ["sensitivity"], "most_candidates": 3}


def test_the_verb_prints_and_draws_the_ranking(shared, repaired):
    words = (f"target={RUNTIMES['onnxruntime']}", "--quiet")
    told = edgecompile(shared, "sensitivity", *words, "--out", "ranking.svg")
    assert told.returncode == 0, told.stderr
    assert "alone in INT8" in told.stdout
    found = json.loads(edgecompile(shared, "sensitivity", *words, "--json").stdout)
    blocks = {block["name"] for block in found["blocks"]}
    assert all(name in told.stdout for name in blocks)
    layers = [layer for block in found["blocks"] for layer in block["detail"]]
    assert all(layer["activations"] is not None for layer in layers)
    drawn = (shared / "ranking.svg").read_text()
    assert all(name in drawn for name in blocks)
    refused = edgecompile(shared, "sensitivity", "recipe=x86-cpu_onnxruntime_fp32", "model=sample", "data=sample")
    assert refused.returncode == 3
    assert "no pass int8_static" in refused.stderr
