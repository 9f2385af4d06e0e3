"""A package of a third party adds a task: counting objects. Nothing here knows of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from needed import needs
from rough_measurement import ROUGH

from .packages import ROOT, Run, installed, runner

pytest.importorskip("onnx")
needs("ultralytics")

pytestmark = pytest.mark.slow

PICTURE = str(ROOT / "edgecompile/sample/images/test/test_0000.jpg")
ON_A_DEVICE = """
import sys
for name in ("pydantic", "yaml", "hydra", "omegaconf", "rich", "onnx", "torch"):
    sys.modules[name] = None
from edgecompile import runtime
found = runtime.load(sys.argv[1]).predict(sys.argv[2], conf=0.4)
print(type(found).__module__, len(found))
"""
COUNT = ("build", "recipe=quickstart", "model.task=count", "gates.accuracy_drop=null", *ROUGH, "--quiet")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def edgecompile(tmp_path_factory: pytest.TempPathFactory, shared: Path, work: Path) -> Run:
    return runner(installed("tally", tmp_path_factory), work, shared / "cache")


@pytest.fixture(scope="module")
def bundle(edgecompile: Run, work: Path) -> Path:
    built = edgecompile(*COUNT, "gates.count_drop=0.2", "gates.count_score=0.5")
    assert built.returncode == 0, built.stderr
    assert "counting score" in built.stderr
    assert "mAP" not in built.stderr
    return work / built.stdout.strip().splitlines()[-1]


def test_its_gates_and_settings_are_in_the_schema_and_listed(edgecompile):
    schema = json.loads(edgecompile("schema").stdout)
    gates = schema["definitions"]["gates"]["properties"]
    assert gates["count_drop"]["description"] == "largest loss of counting score against the float model, 0..1"
    assert "count_score" in gates
    assert "map_drop" in gates
    assert "count_from" in schema["definitions"]["evaluate"]["properties"]
    assert "count" in schema["definitions"]["model"]["properties"]["task"]["enum"]


def test_a_bundle_of_it_is_judged_by_its_metric(edgecompile, bundle, work):
    manifest = json.loads(edgecompile("inspect", str(bundle), "--json").stdout)["manifest"]
    figures = manifest["figures"]
    assert (manifest["model"]["task"], figures["main"], figures["drop"]) == ("count", "count_score", "count_drop")
    assert 0.5 < figures["count_score"] <= 1
    assert figures["count_drop"] == round(figures["reference"]["count_score"] - figures["count_score"], 6)
    assert set(figures["per_class"]) == {"bolt", "nut", "washer"}
    assert "map50_95" not in json.dumps(manifest)
    page = (bundle.parent / "report.html").read_text()
    assert "counting score" in page
    assert "mAP" not in page
    assert "counting score" in edgecompile("inspect", str(bundle)).stdout


def test_the_bundle_runs_where_only_the_runtime_is(edgecompile, bundle):
    verified = edgecompile("verify", str(bundle))
    assert verified.returncode == 0, verified.stderr
    assert "counts       ok" in verified.stdout
    (found,) = json.loads(edgecompile("predict", str(bundle), PICTURE, "--format", "json").stdout)
    assert sum(found["counts"].values()) > 3
    assert " counted" in edgecompile("predict", str(bundle), PICTURE).stdout
    refused = edgecompile("predict", str(bundle), PICTURE, "--format", "coco")
    assert (refused.returncode, "COCO has no format" in refused.stderr) == (2, True)
    on_device = edgecompile("-c", ON_A_DEVICE, str(bundle), PICTURE, module=False)
    assert on_device.stdout.split()[:1] == ["tally.counting"], on_device.stderr


def test_a_sweep_weighs_its_metric(edgecompile, work):
    words = ("evaluate.count_from=0.3,0.5", "objectives=[count_score,size_mb]")
    swept = edgecompile("build", "-m", *COUNT[1:], *words)
    assert swept.returncode == 0, swept.stderr
    assert "counting score" in swept.stderr
    (folder,) = (work / "outputs" / "sweeps").iterdir()
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert [float(row["count_score"]) > 0.5 for row in rows] == [True, True]
    assert "map50_95" not in rows[0]
    assert "counting score against latency" in (folder / "report.html").read_text()


def test_it_reproduces_and_a_difference_is_told_in_its_words(edgecompile, bundle):
    again = edgecompile("reproduce", str(bundle))
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("reproduced: ")


def test_negative_control_a_gate_on_another_task_is_refused(edgecompile):
    refused = edgecompile("plan", "recipe=quickstart", "model.task=count", "gates.map_drop=0.1")
    assert refused.returncode == 2
    (line,) = refused.stderr.strip().splitlines()
    assert "gates.map_drop" in line
    assert "'count'" in line
    unmet = edgecompile(*COUNT, "gates.count_score=0.9999")
    assert unmet.returncode == 6
    assert "counting score" in unmet.stderr


def test_without_the_package_the_task_is_unknown(edgecompile, bundle):
    refused = edgecompile("plan", "recipe=quickstart", "model.task=count", PYTHONPATH=str(ROOT))
    assert refused.returncode == 2
    assert "model.task" in refused.stderr
    opened = edgecompile("verify", str(bundle), PYTHONPATH=str(ROOT))
    assert opened.returncode == 7
    shipped = "classify, detect, obb, pose, segment"
    assert f"the task is 'count', this runtime does {shipped}\n" in opened.stderr
