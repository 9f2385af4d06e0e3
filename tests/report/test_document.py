"""report.json, in its two variants."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from built import Built, build

from edgecompile.execute.plan_status import StepState
from edgecompile.report.document import plan_document, report_of


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


def test_variants_differ_in_what_was_measured_only(built: Built):
    bundled, whole = built.report(), built.report(whole=True)
    assert bundled.keys() == whole.keys()
    assert {key for key in whole if bundled[key] != whole[key]} == {"gates", "steps", "measured", "run"}
    assert (bundled["measured"], bundled["run"]) == (None, None)


def test_bundled_variant_is_blind_to_the_run(built: Built, tmp_path: Path):
    """Negative control: the whole variant is not."""
    again = replace(built, entries={name: replace(entry, fresh=False) for name, entry in built.entries.items()})
    assert again.report() == built.report()
    assert again.report(whole=True) != built.report(whole=True)


def test_gates_carry_their_figure_only_where_it_lasts(built: Built):
    bundled = {gate["gate"]: gate for gate in built.report()["gates"]}
    whole = {gate["gate"]: gate for gate in built.report(whole=True)["gates"]}
    assert bundled["latency_p95_ms"]["figure"] is None
    assert whole["latency_p95_ms"]["figure"] == 4.31
    assert "text" in whole["map_drop"]
    assert "text" not in bundled["map_drop"]


def test_steps_say_what_they_did_and_how_it_went(built: Built):
    steps = {step["name"]: step for step in built.report(whole=True)["steps"]}
    assert "0 of 88 convolutions fused: no BatchNormalization left" in steps["simplify"]["did"]
    assert steps["onnx_export"]["run"] == {"state": "reused", "wall_s": 2.7, "peak_memory_mb": 512.0}
    assert steps["compile"]["run"]["state"] == "ran"
    assert (steps["measure"]["key"], steps["evaluate"]["did"]) == (None, [])


def test_a_build_that_ended_early_reports_what_there_is(built: Built):
    entries = {name: entry for name, entry in built.entries.items() if name in ("onnx_export", "simplify")}
    report = report_of(built.manifest, built.lock["recipe"], built.plan, entries, built.verdicts, run={})
    states = {step["name"]: step["run"]["state"] for step in report["steps"]}
    assert (states["simplify"], states["compile"]) == ("ran", "missing")
    assert report["reference_size_bytes"] is None


def test_classes_that_fell_most_come_first(built: Built):
    per_class_drops = built.report()["falls"]
    assert per_class_drops[0] == {"name": "Platelets", "reference": 0.1736, "artifact": 0.1655}


def test_it_is_plain_json(built: Built):
    for whole in (False, True):
        report = built.report(whole=whole)
        assert json.loads(json.dumps(report)) == report


def test_plan_document_says_what_would_happen(built: Built):
    recipe = SimpleNamespace(name="x", target=SimpleNamespace(device="a board"))
    states = [StepState(step, "k" * 64, index < 4, "because", 1.5) for index, step in enumerate(built.plan)]
    document = plan_document(recipe, built.plan, states)
    assert json.loads(json.dumps(document)) == document
    assert (document["reused"], document["to_run"]) == (4, 5)
    quantize = next(step for step in document["steps"] if step["name"] == "int8_static.quantize")
    assert quantize["sources"] == {"pictures": "calibration pictures"}
    assert quantize["needs"] == ["simplify"]
    assert (quantize["hit"], quantize["why"]) == (True, "because")
