"""Launchers and sweepers that come as extras, and what a search gets to know of a point."""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hydra.core.config_store import ConfigStore

from edgecompile.compose.command_line import Options
from edgecompile.compose.composition import compose
from edgecompile.compose.hydra_plugins import EXTRAS
from edgecompile.errors import GateError, RecipeError
from edgecompile.evaluate.gates import GATES
from edgecompile.recipe.schema import Objective, Recipe
from edgecompile.runtime.machine import Machine
from edgecompile.runtime.measurement import Measurement, Percentiles
from edgecompile.sweep import objectives

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]


def figures_of(map50_95: float, size_bytes: int) -> dict[str, object]:
    """Returns the section of a report of a detector that loses nothing."""
    metrics = {"map50_95": map50_95, "map50": map50_95}
    reference = {**metrics, "per_class": {}}
    counts = {"pictures": 9, "objects": 9, "size_bytes": size_bytes}
    return {**metrics, "per_class": {}, "reference": reference, **counts, "distance": {}}


def measured_of(p95: float) -> dict[str, object]:
    """Returns the section of a report on a machine of which nothing is known."""
    machine = Machine(**dict.fromkeys(field.name for field in fields(Machine)))
    return {**Measurement(machine, 1, latency_ms={"total": Percentiles(p95, p95, p95)}).to_json()}


def build(recipe: Recipe, run_dir: Path, options: Options) -> Path:
    """Stands in for the build, which other tests run: the larger, the more accurate and the slower."""
    size = recipe.model.imgsz or 320
    figures = figures_of(size / 1000, 1_500_000)
    document = {"figures": figures, "measured": {**measured_of(size / 10), "process": os.getpid()}}
    (run_dir / "report.json").write_text(json.dumps(document))
    if recipe.name == "unmet":
        raise GateError("map_drop is 0.5")
    bundle = run_dir / "x.zip"
    bundle.write_text("")
    return bundle


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecompile.verbs.build.build_recipe", build)
    monkeypatch.setattr("edgecompile.verbs.build.report_sweep", lambda folder: None)
    # Processes of launchers find this module by its name.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))


def points(here: Path) -> list[list[str]]:
    """Returns the overrides of each point of the one sweep, in the order of the jobs."""
    files = sorted(here.glob("outputs/sweeps/*/*/status.json"), key=lambda file: int(file.parent.name.split("_")[0]))
    return [[word.lstrip("+") for word in json.loads(file.read_text())["overrides"]] for file in files]


def processes(here: Path) -> set[int]:
    return {json.loads(file.read_text())["measured"]["process"] for file in here.glob("outputs/sweeps/*/*/report.json")}


def test_every_recipe_side_by_side(run, here: Path):
    """The command of the documentation: edgecompile build -m 'recipe=glob(*)' hydra/launcher=joblib"""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    ran = run("build", "-m", "recipe=glob(*)", "name=fine", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert ran.code == 0
    shipped = sorted(file.stem for file in (TESTS.parent / "recipes").glob("*.yaml"))
    assert [point[0] for point in points(here)] == [f"recipe={name}" for name in shipped]
    assert os.getpid() not in processes(here)
    told = [Path(line) for line in ran.out.splitlines()]  # by the one process that people see
    assert sorted(told) == sorted(here.glob("outputs/sweeps/*/*/x.zip"))


def test_jobs_of_a_batch_system(run, here: Path):
    """Submitit's own executor stands in for Slurm, as it does for people without a cluster."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    ran = run("build", "-m", "name=unmet,fine", "hydra/launcher=submitit_local")
    assert ran.code == 6
    assert points(here) == [["name=unmet"], ["name=fine"]]
    assert len(processes(here) - {os.getpid()}) == 2


def test_slurm_where_there_is_none(run, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.setenv("PATH", "/nowhere")
    ran = run("build", "-m", "model.imgsz=224,256", "hydra/launcher=submitit_slurm")
    assert (ran.code, len(ran.lines)) == (4, 1)
    assert "finds no srun here; run it where srun is, or take hydra/launcher=submitit_local" in ran.err


def test_list_sweeper_goes_through_lists_side_by_side(run, here: Path, write):
    pytest.importorskip("hydra_plugins.list_sweeper_plugin")
    lists = "{list_params: {model.imgsz: [224, 256], name: [a, b]}, grid_params: {gates.fps: [1, 2]}}"
    text = f"hydra: {{mode: MULTIRUN, sweeper: {lists}}}\n"
    base = "defaults: [quickstart, {override /hydra/sweeper: list}, _self_]\n"
    assert run("build", write(base + text, base=False)).code == 0
    found = [set(point) for point in points(here)]
    assert {frozenset(point) for point in found} == {
        frozenset({"recipe=my", f"gates.fps={fps}", f"model.imgsz={size}", f"name={name}"})
        for fps in (1, 2)
        for size, name in ((224, "a"), (256, "b"))
    }


def test_filter_sweeper_leaves_points_out(run, here: Path):
    pytest.importorskip("hydra_filter_sweeper")
    rule = "hydra.sweeper.filters=[{hydra_filter_sweeper.Expression: {expr: \"model['imgsz'] > 300 and name == 'a'\"}}]"
    assert run("build", "-m", "hydra/sweeper=filter", rule, "model.imgsz=256,320", "name=a,b").code == 0
    assert points(here) == [["model.imgsz=256", "name=a"], ["model.imgsz=256", "name=b"], ["model.imgsz=320", "name=b"]]


SEARCH = ("build", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=7")


def solutions(here: Path) -> list[dict]:
    (file,) = here.glob("outputs/sweeps/*/optimization_results.yaml")
    return yaml.safe_load(file.read_text())["solutions"]


def test_a_search_weighs_objectives_and_no_failed_point_wins(run, here: Path):
    pytest.importorskip("optuna")
    ran = run(*SEARCH, "objectives=[map50_95,latency_p95_ms,size_mb]", "model.imgsz=224,320", "name=unmet,fine")
    assert ran.code == 0, "gates are the constraints of a search: to miss some is how it learns"
    assert re.search(r"4 points: \d built, \d missed a gate, as a search may, 0 failed", ran.err)
    assert len(points(here)) == 4
    assert any("name=unmet" in point for point in points(here))
    for found in solutions(here):
        assert found["params"]["++name"] == "fine"
        size = float(found["params"]["++model.imgsz"])
        assert found["values"] == [size / 1000, size / 10, 1.5]


def test_where_every_point_fails_none_is_a_solution(run, here: Path):
    pytest.importorskip("optuna")
    assert run(*SEARCH, "objectives=[map50_95,size_mb]", "model.imgsz=224,320", "name=unmet").code == 6
    assert solutions(here) == []


def test_a_single_objective_that_every_point_misses_has_no_best(run, here: Path):
    pytest.importorskip("optuna")
    assert run(*SEARCH, "objectives=[map50_95]", "model.imgsz=224,320", "name=unmet").code == 6
    (file,) = here.glob("outputs/sweeps/*/optimization_results.yaml")
    assert yaml.safe_load(file.read_text())["best_value"] is None


def test_what_breaks_is_not_forgiven_in_a_search(run):
    pytest.importorskip("optuna")
    assert run(*SEARCH, "objectives=[map50_95,size_mb]", "model.imgsz=224,33", "name=fine").code == 2


def test_a_figure_that_is_zero_is_no_loss(run, here: Path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setitem(GATES, "map_drop", replace(GATES["map_drop"], read=lambda figures: 0.0))
    assert run(*SEARCH, "objectives=[map_drop,size_mb]", "model.imgsz=320").code == 0
    assert [found["values"][0] for found in solutions(here)] == [0.0]


def test_a_solution_stands_once(run, here: Path):
    pytest.importorskip("optuna")
    assert run(*SEARCH, "objectives=[map50_95,size_mb]", "model.imgsz=320").code == 0
    assert len(solutions(here)) == 1


def test_negative_control_a_search_that_minimizes_accuracy_finds_other_points(run, here: Path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setitem(GATES, "map50_95", replace(GATES["map50_95"], floor=False))
    assert run(*SEARCH, "objectives=[map50_95,latency_p95_ms]", "model.imgsz=224,320").code == 0
    assert {found["params"]["++model.imgsz"] for found in solutions(here)} == {224}


def test_a_search_with_one_objective(run, here: Path):
    pytest.importorskip("optuna")
    assert run(*SEARCH, "objectives=[map50_95]", "model.imgsz=224,320").code == 0
    (file,) = here.glob("outputs/sweeps/*/optimization_results.yaml")
    assert "best_value: 0.32" in file.read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            [],
            "command line:objectives: a search needs objectives; such as objectives=[map50_95,latency_p95_ms,size_mb]",
        ),
        (["objectives=[map,fps]"], "objectives: unknown objective 'map'; did you mean 'map50'?"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_any_point(run, here: Path, words: list[str], line: str):
    pytest.importorskip("optuna")
    ran = run(*SEARCH, *words, "model.imgsz=224,320")
    assert (ran.code, ran.lines) == (2, [f"edgecompile: {line}"])
    assert points(here) == []


def test_objectives_are_the_figures_of_gates_and_refused_otherwise(problems):
    assert set(get_args(Objective)) == {name for name, gate in GATES.items() if gate.weighable}
    assert "throttled" in GATES
    assert "throttled" not in get_args(Objective)
    assert problems("objectives=[map50_95,size_mb,size_mb]") == [
        "command line:objectives: 'size_mb' stands twice; name each figure once"
    ]
    assert "unknown objective 'sise_mb'; did you mean 'size_mb'?" in problems("objectives=[sise_mb]")[0]
    assert "found the text 'size_mb', expected a list of figures" in problems("objectives=size_mb")[0]


def test_objectives_are_no_part_of_what_is_built():
    chosen = compose("objectives=[map50_95,size_mb]")
    assert chosen.objectives == ("map50_95", "size_mb")
    assert chosen.model_dump(mode="json", by_alias=True) == compose().model_dump(mode="json", by_alias=True)


def test_what_a_point_returns(tmp_path: Path):
    names = ["map50_95", "latency_p95_ms", "size_mb"]
    figures = {"figures": figures_of(0.5, 2_000_000), "measured": measured_of(7.5)}
    (tmp_path / "report.json").write_text(json.dumps(figures))
    assert objectives.returned(names, tmp_path, built=True) == [0.5, 7.5, 2.0]
    assert objectives.returned(names, tmp_path, built=False) == [0.0, 1e9, 1e9]
    assert objectives.returned(names[:1], tmp_path, built=True) == 0.5
    (tmp_path / "report.json").write_text(json.dumps({**figures, "measured": None}))
    assert objectives.returned(names, tmp_path, built=True) == [0.5, 1e9, 2.0]
    with pytest.raises(RecipeError, match="a search needs objectives"):
        objectives.directions([])


@pytest.mark.parametrize("choice", sorted(EXTRAS))
def test_a_plugin_that_is_not_installed_names_its_extra(run, here: Path, monkeypatch, choice: str):
    _, kind, name = choice.split("/")
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"][kind], f"{name}.yaml", raising=False)
    ran = run("build", "-m", f"hydra/{kind}={name}", "model.imgsz=224,256")
    assert (ran.code, ran.out) == (4, "")
    assert ran.lines == [
        f"edgecompile: command line:hydra/{kind}: the {kind} '{name}' is not installed; "
        f"pip install 'edgecompile[{EXTRAS[choice]}]'"
    ]
    assert list(here.iterdir()) == []


def test_a_plugin_that_is_misspelt(run):
    ran = run("build", "-m", "hydra/launcher=jolib", "model.imgsz=224,256")
    assert (ran.code, len(ran.lines)) == (2, 1)
    assert "did you mean 'joblib'?" in ran.err


def test_recipes_of_the_documentation_compose(here: Path):
    blocks = re.findall(r"^```yaml\n(.*?)^```", (TESTS.parent / "docs/sweeps.md").read_text(), re.M | re.S)
    assert len(blocks) == 2
    for number, text in enumerate(blocks):
        if "optuna" in text:
            pytest.importorskip("optuna")
        (here / f"doc{number}.yaml").write_text(text)
        assert compose(f"doc{number}.yaml").target.kind == "openvino"
