"""`plan -m`: the different steps of a sweep, what the store has of them, which points are invalid and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecompile import cli
from edgecompile.compose.composition import compose
from edgecompile.execute import step_key
from edgecompile.execute.source_digests import Sources
from edgecompile.execute.store import Store
from edgecompile.plan.resolve import resolve
from edgecompile.recipe.materials import find_materials

SWEEP = ("recipe=quickstart,x86-cpu_openvino_fp32", "model=sample", "data=sample", "model.imgsz=64,96,33")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Runs `plan -m` with a store and a working directory of its own; returns exit code, stdout and stderr."""
    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(tmp_path / "cache"))

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.main(["plan", "-m", *words])
        return code, *capfd.readouterr()

    return run


@pytest.mark.slow
def test_steps_points_and_problems_as_json(plan, tmp_path):
    code, out, err = plan(*SWEEP, "gates.map_drop=0.1,0.2", "--json")
    found = json.loads(out)
    assert (code, err) == (2, "")
    assert (found["valid"], found["invalid"]) == (8, 4)
    assert found["problems"] == [
        {"problem": "command line:model.imgsz: found 33, expected a multiple of 32", "points": [4, 5, 10, 11]}
    ]
    exports = [step for step in found["steps"] if step["name"].startswith("onnx_export")]
    assert [step["points"] for step in exports] == [4, 4]  # one for each size, for both recipes and all gates
    assert found["steps_in_points"] == sum(len(point["steps"]) for point in found["points"])
    assert found["different_steps"] == found["to_run"] < found["steps_in_points"] / 2
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.slow
def test_each_point_has_the_steps_that_its_own_plan_has(plan):
    found = json.loads(plan(*SWEEP, "--json")[1])
    for point in found["points"]:
        if point["problems"]:
            continue
        recipe = compose(*point["overrides"])
        own = resolve(recipe, find_materials(recipe)).steps
        there = [found["steps"][number] for number in point["steps"]]
        assert [(step.name, dict(step.params)) for step in own] == [
            (step["name"].partition("#")[0], step["params"]) for step in there
        ]


@pytest.mark.slow
def test_what_the_store_has_is_reused(plan, tmp_path):
    recipe = compose("quickstart", "model.imgsz=64")
    store = Store.default()
    export = resolve(recipe, find_materials(recipe))["onnx_export"]
    found = step_key.ingredients(export, Sources(store.root / "stat"), {})
    (tmp_path / "out").mkdir()
    for name in ("model.onnx", "spec.json"):
        (tmp_path / "out" / name).write_text("{}")
    record = {"step": export.name, "function": export.function, "ingredients": found, "wall_seconds": 2.5}
    store.publish(step_key.key_of(found), tmp_path / "out", record)
    store.close()
    planned = json.loads(plan(*SWEEP, "--json")[1])
    assert planned["reused"] == 1
    states = {step["name"]: step["hit"] for step in planned["steps"]}
    assert states["onnx_export"] is True
    assert states["onnx_export#2"] is False
    assert {step["key"] for step in planned["steps"] if step["name"] == "simplify#2"} == {None}


@pytest.mark.slow
def test_a_table_for_people(plan):
    code, out, err = plan(*SWEEP)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert (code, err) == (2, "")
    assert "export onnx_export 4 2 2 2" in lines
    assert "2 recipe=quickstart model.imgsz=33: invalid" in lines
    assert "2 points: command line:model.imgsz: found 33, expected a multiple of 32" in lines
    assert lines[-1] == "6 points: 4 valid, 2 invalid"
    held = [line for line in lines if line.startswith(("validation pictures: ", "calibration pictures: "))]
    assert held == [
        "validation pictures: 32 found in 'test', 32 used; 181 objects",
        "calibration pictures: 96 found in 'train', 96 used",
    ]


@pytest.mark.slow
def test_files_that_are_missing_make_a_point_invalid_as_in_a_build(plan):
    code, out, _ = plan("model.weights=sample://parts.pt,no.pt", "gates.fps=1,2")
    assert code == 2
    assert any(
        line.startswith("2 points: command line:model.weights: weights 'no.pt' not found") for line in out.splitlines()
    )


@pytest.mark.slow
def test_the_merged_graph(plan):
    code, out, _ = plan("quickstart", "model.imgsz=64,96", "--mermaid")
    assert code == 0
    assert out.startswith("flowchart TD")
    assert "onnx_export#35;2" in out
