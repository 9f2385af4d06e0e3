"""The Hydra application: jobs, sweeps, exit codes, what is left behind, and Hydra's own flags."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import Ran

from edgecompile.compose.command_line import Options
from edgecompile.compose.sweep_points import Sweep
from edgecompile.errors import GateError, PlanError
from edgecompile.recipe.schema import Recipe
from edgecompile.verbs import build as build_verb
from edgecompile.verbs import plan as plan_verb


def build(recipe: Recipe, run_dir: Path, options: Options) -> Path:
    """Stands in for the build, which other tests run: writes a file, or fails as the recipe's name says."""
    if recipe.name == "unmet":
        raise GateError("map_drop is 0.5")
    if recipe.name == "broken":
        raise ZeroDivisionError("by zero")
    if recipe.name == "interrupted":
        raise KeyboardInterrupt
    bundle = run_dir / f"{recipe.name}-{recipe.model.imgsz}.zip"
    bundle.write_text(recipe.model_dump_json())
    return bundle


def plan(recipe: Recipe, run_dir: Path, options: Options) -> None:
    """Stands in for the plan."""
    if recipe.name == "unplanned":
        raise PlanError("no plan")
    print(recipe.name, recipe.model.imgsz, options.json)


def plan_sweep(sweep: Sweep, options: Options) -> int:
    """Stands in for the plan of a sweep."""
    points = list(sweep)
    for point in points:
        if point.recipe:
            plan(point.recipe, Path(), options)
        for problem in point.problems:
            print(f"point {point.number}: {problem}", file=sys.stderr)
    return 2 if any(point.problems for point in points) else 0


TELL_SWEEP = build_verb.report_sweep


@pytest.fixture(autouse=True)
def told(monkeypatch) -> list[Path]:
    """Puts the stand-ins in place; returns the folders of the sweeps that ended."""
    folders: list[Path] = []
    monkeypatch.setattr(build_verb, "build_recipe", build)
    monkeypatch.setattr(plan_verb, "plan_recipe", plan)
    monkeypatch.setattr(plan_verb, "plan_sweep", plan_sweep)
    monkeypatch.setattr(build_verb, "report_sweep", folders.append)
    return folders


def told_of(ran: Ran) -> list[str]:
    """Returns what a sweep said on stderr but the lines that tell how it goes."""
    return [line for line in ran.lines if not line.startswith("[") and " saved by sharing; took " not in line]


def statuses(here: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted(here.glob("outputs/sweeps/*/*/status.json"))]


def test_a_build_prints_its_bundle_and_leaves_it_alone(run, here):
    ran = run("build")
    assert (ran.code, ran.err) == (0, "")
    bundle = Path(ran.out.splitlines()[-1])
    assert bundle.relative_to(here).parts[:2] == ("outputs", "quickstart")
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_plan_leaves_nothing(run, here):
    assert run("plan", "--json").out == "quickstart None True\n"
    assert run("plan", "-m", "model.imgsz=224,256").out == "quickstart 224 False\nquickstart 256 False\n"
    assert list(here.iterdir()) == []


def test_a_failed_build_leaves_nothing(run, here):
    ran = run("build", "name=unmet")
    assert (ran.code, ran.out, ran.err) == (6, "", "edgecompile: map_drop is 0.5\n")
    assert list(here.iterdir()) == []


def test_a_wrong_recipe_leaves_nothing(run, here, write):
    name = write("model: {imgsz: 33}\ngates: {fsp: 1}\n")
    ran = run("build", name)
    assert (ran.code, ran.out) == (2, "")
    assert ran.lines == [
        "edgecompile: my.yaml:6:model.imgsz: found 33, expected a multiple of 32",
        "edgecompile: my.yaml:7:gates.fsp: unknown key 'fsp'; did you mean 'fps'?",
    ]
    assert [one.name for one in here.iterdir()] == ["my.yaml"]


def test_an_unexpected_error_is_one_line(run):
    ran = run("build", "name=broken")
    assert ran.code == 1
    assert ran.lines == [
        "edgecompile: unexpected ZeroDivisionError: by zero; run it again with --debug for the traceback, "
        "and please report it"
    ]
    assert "Traceback" in run("build", "name=broken", "--debug").err


def test_tracebacks_only_with_debug(run):
    assert "Traceback" not in run("build", "name=unmet").err
    ran = run("build", "--debug", "name=unmet")
    assert ran.code == 6
    assert "Traceback" in ran.err


def test_interrupted(run, here):
    ran = run("build", "name=interrupted")
    assert (ran.code, ran.err) == (130, "edgecompile: interrupted\n")
    assert list(here.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_goes_on_and_tells_the_worst(run, here):
    ran = run("build", "-m", "name=unmet,fine,broken")
    assert ran.code == 6
    assert ran.out.strip().endswith("fine-None.zip")
    assert told_of(ran) == ["edgecompile: job 0: map_drop is 0.5", "edgecompile: job 2: ZeroDivisionError: by zero"]
    assert [line.split(";")[0] for line in ran.lines if line.startswith("[")] == [
        "[1/3] 0_unmet: gate unmet",
        "[2/3] 1_fine: built",
        "[3/3] 2_broken: step failed",
    ]
    last = "edgecompile: 3 points: 1 built, 2 failed; 0 steps run, 0 reused, 0 s saved by sharing; took "
    assert ran.lines[-1].startswith(last)
    assert [(one["name"], one["exit_code"]) for one in statuses(here)] == [("unmet", 6), ("fine", 0), ("broken", 5)]
    assert statuses(here)[0]["problems"] == ["map_drop is 0.5"]


@pytest.mark.slow
def test_a_quiet_sweep_tells_only_what_failed(run):
    assert run("build", "-m", "--quiet", "name=fine,better").err == ""
    assert run("build", "-m", "--quiet", "name=unmet,fine").lines == [
        "edgecompile: job 0: map_drop is 0.5",
        "edgecompile: 1 of 2 points failed",
    ]


@pytest.mark.slow
def test_an_interrupted_sweep_keeps_what_is_done_and_reports_it(run, here, monkeypatch):
    monkeypatch.setattr(build_verb, "report_sweep", TELL_SWEEP)
    ran = run("build", "-m", "name=fine,interrupted,better")
    (folder,) = here.glob("outputs/sweeps/*")
    assert ran.code == 130
    assert ran.lines[-1] == "edgecompile: interrupted"
    assert any(line.startswith("edgecompile: 1 of 3 points: 1 built, 0 failed; ") for line in ran.lines)
    results = json.loads((folder / "results.json").read_text())
    assert [(point["name"], point["state"]) for point in results["points"]] == [("fine", "built"), (None, "unfinished")]
    assert results["points"][1]["overrides"] == ["name=interrupted"]
    assert (folder / "report.html").exists()


def test_a_sweep_interrupted_before_any_point_is_done(run, told):
    ran = run("build", "-m", "name=interrupted,fine")
    assert (ran.code, ran.lines, told) == (130, ["edgecompile: interrupted"], [])


@pytest.mark.slow
def test_points_of_an_earlier_sweep_in_the_same_folder_do_not_count(run, here):
    run("build", "-m", "name=fine,better", "hydra.sweep.dir=again")
    ran = run("build", "-m", "name=fine,unmet", "hydra.sweep.dir=again", "hydra.sweep.subdir=${hydra:job.num}_x")
    assert [line.split(";")[0] for line in ran.lines if line.startswith("[")] == [
        "[1/2] 0_x: built",
        "[2/2] 1_x: gate unmet",
    ]


@pytest.mark.slow
def test_run_directories_of_a_sweep_may_lie_deeper(run, here, monkeypatch):
    monkeypatch.setattr(build_verb, "report_sweep", TELL_SWEEP)
    ran = run("build", "-m", "name=fine,unmet", "hydra.sweep.dir=deep", "hydra.sweep.subdir=${hydra:job.num}_x/${name}")
    assert ran.code == 6
    assert [line.split(";")[0] for line in ran.lines if line.startswith("[")] == [
        "[1/2] 0_x/fine: built",
        "[2/2] 1_x/unmet: gate unmet",
    ]
    assert [point["point"] for point in json.loads((here / "deep/results.json").read_text())["points"]] == [
        "0_x/fine",
        "1_x/unmet",
    ]


def test_nothing_of_an_earlier_build_stays_in_a_run_directory_that_is_used_again(run, here):
    """What its report speaks of, that is: a bundle of somebody else's stays."""
    (here / "out").mkdir()
    for name in ("old.bundle.zip", "other.bundle.zip", "report.html", "recipe.lock.yaml"):
        (here / "out" / name).touch()
    (here / "out/report.json").write_text(json.dumps({"run": {"bundle": {"name": "old.bundle.zip"}}}))
    assert run("build", "name=unmet", "hydra.run.dir=out").code == 6
    assert sorted(path.name for path in (here / "out").glob("*.*")) == [
        "other.bundle.zip",
        "recipe.lock.yaml",
    ]


@pytest.mark.slow
def test_a_sweep_ends_with_its_report(run, here, monkeypatch):
    monkeypatch.setattr(build_verb, "report_sweep", TELL_SWEEP)
    ran = run("build", "-m", "name=unmet,fine", "model.imgsz=33,256")
    (folder,) = here.glob("outputs/sweeps/*")
    assert ran.code == 6
    assert ran.lines[-1] == f"report: {folder.relative_to(here) / 'report.html'}"
    assert len(ran.out.splitlines()) == 1  # results go to stdout: the one bundle
    results = json.loads((folder / "results.json").read_text())
    assert [point["state"] for point in results["points"]] == ["invalid", "gate unmet", "invalid", "built"]
    assert results["points"][1]["reason"] == "map_drop is 0.5"
    assert "expected a multiple of 32" in (folder / "results.csv").read_text()


@pytest.mark.slow
def test_only_the_end_of_a_sweep_is_told(run, told):
    run("build")
    run("plan", "-m", "model.imgsz=224,256")
    assert told == []
    run("build", "-m", "model.imgsz=224,256")
    assert len(told) == 1


@pytest.mark.slow
def test_a_sweep_in_which_all_is_well(run, here):
    ran = run("build", "--multirun", "recipe=x86-cpu_openvino_int8,quickstart", "gates.fps=1")
    assert (ran.code, told_of(ran)) == (0, [])
    assert [one["name"] for one in statuses(here)] == ["x86-cpu_openvino_int8", "quickstart"]
    assert all(Path(one["bundle"]).is_file() for one in statuses(here))


def test_a_sweep_with_a_job_that_cannot_be_composed_runs_nothing(run):
    ran = run("plan", "-m", "recipe=quickstart,quikstart")
    assert (ran.code, ran.out) == (2, "")
    assert ran.lines == ["edgecompile: command line:recipe: unknown recipe 'quikstart'; did you mean 'quickstart'?"]


def test_a_sweep_with_a_wrong_value_runs_the_others(run):
    ran = run("plan", "-m", "model.imgsz=33,256")
    assert (ran.code, ran.out) == (2, "quickstart 256 False\n")
    assert ran.lines[0] == "point 0: command line:model.imgsz: found 33, expected a multiple of 32"


@pytest.mark.slow
def test_glob(run):
    assert "quickstart" not in run("plan", "-m", "recipe=glob(x86*)").out
    ran = run("plan", "recipe=glob([x86*,arm*],exclude=*fp32)", "-m")
    assert ran.code == 0
    assert "x86-cpu_openvino_int8" in ran.out
    assert "fp32" not in ran.out


def test_own_recipes_in_a_sweep(run, write):
    write("model: {imgsz: 320}\n", "a/one.yaml")
    write("model: {imgsz: 416}\n", "b/two.yaml")
    assert run("plan", "a/one.yaml", "b/two.yaml", "-m").out == "one 320 False\ntwo 416 False\n"


@pytest.mark.slow
def test_a_sweep_written_in_a_recipe(run, write):
    text = "hydra: {mode: MULTIRUN, sweeper: {params: {++model.imgsz: '224,256'}}}\n"
    assert run("plan", write(text)).out == "my 224 False\nmy 256 False\n"


@pytest.mark.slow
def test_flags_of_hydra_anywhere(run):
    ran = run("plan", "model.imgsz=320", "--cfg", "job", "gates.fps=3", "--resolve", "-p", "gates")
    assert ran.code == 0
    assert "fps: 3" in ran.out
    assert "name: quickstart" in run("--resolve", "build", "--cfg=job").out
    assert "recipe: quickstart" in run("plan", "--info", "defaults-tree").out
    assert "recipes://" in run("plan", "--info=searchpath", "gates.fps=1").out
    assert "Hydra" in run("plan", "--hydra-help").out
    assert "ZeroDivision" not in run("build", "--cfg", "job", "name=broken").err  # nothing runs


def test_resolve_without_cfg(run):
    ran = run("plan", "--resolve")
    assert (ran.code, len(ran.lines)) == (2, 1)


def test_the_run_directory_may_be_chosen(run, here):
    assert Path(run("build", "hydra.run.dir=out").out.strip()).parent == here / "out"


def test_a_name_cannot_leave_outputs(run, here, write):
    ran = run("build", write("name: ../../up\n"))
    assert ran.code == 2
    assert not (here.parent / "up").exists()
    assert not (here / "outputs").exists()


def test_a_run_directory_that_cannot_be_written(run, here):
    (here / "outputs").write_text("a file")
    ran = run("build")
    assert (ran.code, len(ran.lines)) == (5, 1)


def test_config_groups_of_ones_own(run, here):
    for group, name, text in (
        ("target", "mine", "defaults: [x86-cpu_openvino]\nthreads: 7\n"),
        ("target", "evil", "_target_: os.system\n"),
        ("gates", "none", "fps: 5\n"),
    ):
        (here / "mine" / group).mkdir(parents=True, exist_ok=True)
        (here / "mine" / group / f"{name}.yaml").write_text(text)
    ran = run("plan", "--config-dir", "mine", "target=mine")
    assert ran.code == 0
    shadowed = "conf/gates/none.yaml; mine/gates/none.yaml, of the same name, is not used"
    assert any(line.endswith(shadowed) for line in ran.lines)
    assert "threads: 7" in run("plan", "--config-dir=mine", "target=mine", "--cfg", "job", "-p", "target").out
    ran = run("plan", "target=evil", "-cd", "mine")
    assert (ran.code, ran.lines) == (
        2,
        ["edgecompile: mine/target/evil.yaml:1:_target_: '_target_' names code to run; a recipe is data; remove it"],
    )


def test_a_recipe_that_shadows_a_shipped_one_is_told(run, write):
    ran = run("plan", write("model: {imgsz: 320}\n", "quickstart.yaml"))
    assert ran.out == "quickstart 320 False\n"
    assert "warning: 'recipe/quickstart' is quickstart.yaml; " in ran.err
    write("model: {imgsz: 416}\n", "recipes/quickstart.yaml")
    ran = run("plan", "recipe=quickstart")
    assert ran.out == "quickstart 416 False\n"
    assert "warning: 'recipe/quickstart' is recipes/quickstart.yaml; " in ran.err


def test_from_another_directory(run, write, here, tmp_path, monkeypatch):
    write("model: {imgsz: 320}\n", "ein ordner/mein ré.yaml")
    (tmp_path / "far").mkdir()
    monkeypatch.chdir(tmp_path / "far")
    assert run("plan", str(here / "ein ordner/mein ré.yaml")).out == "mein ré 320 False\n"
    assert run("plan", "../here/ein ordner/mein ré.yaml", "model.imgsz=416").out == "mein ré 416 False\n"
    built = Path(run("build", "../here/ein ordner/mein ré.yaml").out.strip())
    assert built.relative_to(tmp_path / "far").parts[:2] == ("outputs", "mein ré")


def test_the_alias_bomb(run, here):
    (here / "bomb.yaml").write_text("a: &a [x,x]\nb: [*a,*a]\n")
    ran = run("plan", "bomb.yaml")
    assert ran.code == 2
    assert all(line.startswith("edgecompile: bomb.yaml:") for line in ran.lines)
