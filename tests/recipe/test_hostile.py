"""Hostile recipes, through `plan` and through `build`: one line with file, line and key, exit code 2, soon."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from edgecompile.compose.command_line import Options
from edgecompile.compose.hydra_plugins import choices
from edgecompile.recipe import allowlist
from edgecompile.recipe.materials import find_materials
from edgecompile.recipe.schema import Recipe
from edgecompile.verbs import build as build_verb
from edgecompile.verbs import plan as plan_verb

from .hostile import CANARY, EXTENDS, LINES, RECIPE, Hostile, every

pytestmark = pytest.mark.slow

ALL = list(every())
BOUND_S = 20.0
"""Seconds that an attack may take of a busy machine; most take a tenth of one."""


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for the build and the plan; returns what would have been built."""
    built: list[str] = []

    def build(recipe: Recipe, run_dir: Path, options: Options) -> None:
        find_materials(recipe)
        built.append(recipe.name)

    monkeypatch.setattr(build_verb, "build_recipe", build)
    monkeypatch.setattr(plan_verb, "plan_recipe", build)
    monkeypatch.setattr(build_verb, "report_sweep", lambda folder: None)
    return built


def written(here: Path, one: Hostile) -> set[Path]:
    """Writes the files of an attack; returns all that lies there then."""
    for name, text in one.files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text, encoding="utf-8")
    return set(here.parent.rglob("*"))


def test_there_are_enough_of_them():
    assert len({one.name for one in ALL}) == len(ALL) >= 60


@pytest.mark.parametrize("one", ALL, ids=[one.name for one in ALL])
def test_it_ends_in_one_line_and_does_nothing(run, here: Path, nothing_is_built: list[str], one: Hostile):
    before, environment = written(here, one), dict(os.environ)
    told = []
    for verb in ("plan", "build"):
        began = time.monotonic()
        ran = run(verb, RECIPE, *one.line)
        assert time.monotonic() - began < BOUND_S
        assert (ran.code, ran.out) == (2, ""), ran
        assert "Traceback" not in ran.err
        assert ran.lines[0].startswith(f"edgecompile: {one.where}"), ran.err
        assert one.says in ran.lines[0], ran.err
        told.append(ran.lines)
    assert told[0] == told[1]  # plan and build agree
    assert nothing_is_built == []
    assert set(here.parent.rglob("*")) - before == set()
    added = {name: value for name, value in os.environ.items() if name not in environment}
    assert not any(CANARY in text or text.startswith("LD_") for pair in added.items() for text in pair)
    assert {name: os.environ[name] for name in environment} == environment


SOUND = {
    "keys": "params: {++model.imgsz: '224,256', gates.map_drop: '0.01,0.02'}",
    "range": "params: {++model.imgsz: 'range(224,288,32)'}",
    "groups": "params: {data: sample, target: 'x86-cpu_onnxruntime,x86-cpu_openvino'}",
    "a field of a pass": "params: {passes.int8_static.method: 'minmax,percentile'}",
    "a field of a target": "params: {target.threads: '1,2'}",
    "a pass left out": "params: {passes.simplify: 'null,{}'}",
    "a pass of another name": "params: {++passes.cleaned: 'null'}",
    "another key of the recipe": "params: {++description: '${name}'}",
    "a group of a person": "params: {+cameras: 'front,back'}",
    "quoted text": "params: {++description: '\"a, b\",c'}",
}


@pytest.mark.parametrize("parameters", SOUND.values(), ids=SOUND)
def test_control_what_a_sweep_may_do(run, here: Path, parameters: str):
    """The same places, filled as docs/sweeps.md has it: all points are planned, and built."""
    (here / "conf/cameras").mkdir(parents=True)
    for name in ("front", "back"):
        (here / f"conf/cameras/{name}.yaml").write_text(f"# @package _global_\ndescription: {name}\n")
    (here / RECIPE).write_text(f"{EXTENDS}{LINES}{parameters}\n")
    ran = run("plan", RECIPE, "--config-dir", "conf")
    assert (ran.code, ran.lines) == (0, [])
    assert " 0 invalid" in ran.out


def test_control_what_a_person_types_is_theirs(run, here: Path, nothing_is_built: list[str], monkeypatch):
    seen: list[str | None] = []
    monkeypatch.setattr(build_verb, "build_recipe", lambda *_: seen.append(os.environ.get(CANARY)))
    assert run("build", "quickstart", f"+hydra.job.env_set.{CANARY}=mine").code == 0
    assert seen == ["mine"]
    assert run("build", "-m", "quickstart", f"+hydra.job.env_set.{CANARY}=mine", "hydra.sweep.dir=out").code == 0
    assert seen == ["mine", "mine"]
    assert (here / "out").is_dir()


def test_a_value_of_a_sweep_is_told_where_the_recipe_has_it(run, here: Path):
    (here / RECIPE).write_text(f"{EXTENDS}{LINES}params: {{++model.imgsz: '33,256'}}\n")
    assert "my.yaml:5:model.imgsz: found 33, expected a multiple of 32" in run("plan", RECIPE).out


def test_hydra_may_be_asked_for_what_the_documentation_names():
    """The tables of docs/sweeps.md and the names that an extra installs."""
    text = (Path(__file__).parents[2] / "docs/sweeps.md").read_text(encoding="utf-8")
    launchers, sweepers = (
        re.findall(r"^\| `(\w+)`", part, re.M)
        for part in re.split("^##* ", text, flags=re.M)
        if part.startswith(("Launchers", "Sweepers"))
    )
    documented = {"hydra/launcher": set(launchers), "hydra/sweeper": set(sweepers)}
    assert {group: set(names) for group, names in allowlist.HYDRA_CHOICES.items()} == documented
    assert all(set(names) <= set(choices(group)) for group, names in allowlist.HYDRA_CHOICES.items())
