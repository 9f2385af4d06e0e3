"""The command line of build and plan: flags anywhere, files, overrides, and the message for a wrong one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgecompile.cli import parser_of
from edgecompile.compose.command_line import Line, quoted, read_line, rewritten
from edgecompile.errors import RecipeError

NAMES = ["quickstart", "rpi5"]
GROUPS = {"target", "model", "recipe", "pass"}


def parse(verb: str, line: Sequence[str]) -> Line:
    return read_line(parser_of(verb).read(line), lambda: NAMES)


def words(*line: str, verb: str = "plan") -> list[str]:
    return parse(verb, line).for_hydra()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["a=1", "-m", "b=2"], ["--multirun", "++a=1", "++b=2"]),
        (["--cfg", "job", "a=1", "--resolve"], ["--resolve", "--cfg=job", "++a=1"]),
        (["-c", "job", "-p", "model"], ["--cfg=job", "--package=model"]),
        (["--cfg=job"], ["--cfg=job"]),
        (["a=1", "--info"], ["--info=all", "++a=1"]),
        (["--info", "defaults-tree", "a=1"], ["--info=defaults-tree", "++a=1"]),
        (["-i", "a=1"], ["--info=all", "++a=1"]),
        (["target=x", "recipe=a,b", "-m"], ["--multirun", "target=x", "recipe=a,b"]),
        (["pass@passes=[a]", "~passes.b", "+c=1", "++d=2"], ["pass@passes=[a]", "~passes.b", "+c=1", "++d=2"]),
        (["hydra.run.dir=x", "hydra/launcher=joblib"], ["hydra.run.dir=x", "hydra/launcher=joblib"]),
        (["quickstart", "a=1"], ["recipe=quickstart", "++a=1"]),
        (["data.path=a/b.yaml"], ["++data.path=a/b.yaml"]),
        (["--json", "--mermaid", "--quiet", "a=1"], ["++a=1"]),
    ],
)
def test_sorted(line, expected):
    assert words(*line) == expected


def test_our_flags():
    assert parse("build", ["a=1", "--jobs", "2"]).options.jobs == 2
    assert parse("build", ["--jobs=3"]).options.jobs == 3
    options = parse("plan", ["--json", "-m"]).options
    assert (options.json, options.mermaid) == (True, False)


def test_files(here):
    (here / "my recipe.yaml").touch()
    (here / "sub").mkdir()
    (here / "sub/b.yml").touch()
    line = parse("plan", ["my recipe.yaml", "a=1"])
    assert (line.for_hydra(), line.own_folders) == (["recipe='my recipe'", "++a=1"], [here])
    assert parse("plan", ["recipe=sub/b.yml"]).files == [here / "sub/b.yml"]
    assert parse("plan", ["my recipe.yaml", "sub/b.yml", "-m"]).for_hydra()[1] == "recipe='my recipe',b"


def test_recipes_of_one_name_are_chosen_with_their_folders(here):
    (here / "sub").mkdir(exist_ok=True)
    for name in ("aa.yaml", "bb.yaml", "sub/aa.yml"):
        (here / name).touch()
    line = parse("plan", ["aa.yaml", "sub/aa.yml", "bb.yaml", "-m"])
    assert line.for_hydra()[1] == "recipe=aa,sub/aa,bb"
    assert line.own_folders == [here, here / "sub"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--jsn"], "unknown flag '--jsn'; did you mean '--json'?"),
        (["--jobs", "2"], "unknown flag '--jobs'"),
        (["--cfg", "jb"], "invalid choice: 'jb'"),
        (["--cfg"], "expected one argument"),
        (["--info=defalts"], "invalid choice: 'defalts'"),
        (["--config-dir", "nowhere"], "folder 'nowhere' not found"),
        (["--config-name", "x"], "--config-name is not taken"),
        (["-cp", "x"], "--config-path is not taken"),
        (["--experimental-rerun", "x"], "it would load a pickle"),
        (["model.weights"], "'model.weights' is neither a recipe nor an override (key=value); a value is missing: "),
        (["=my.pt"], "'=my.pt' names no key; expected key=value"),
        (["~"], "'~' names no key; expected key=value"),
        (["+=x"], "'+=x' names no key; expected key=value"),
        (["rpi6"], "'rpi6' is neither a recipe nor an override (key=value); did you mean 'rpi5'?"),
        (["a.yaml"], "recipe file 'a.yaml' not found; did you mean 'aa.yaml'?"),
        (["gone/a.yaml"], "there is no folder 'gone'"),
        (["aa.yaml", "bb.yaml"], "more than one recipe: aa.yaml, bb.yaml; add -m to build each"),
        (["aa.yaml", "./aa.yaml", "-m"], "'aa.yaml' stands twice"),
        (["aa.yaml", "recipe=rpi5"], "both 'aa.yaml' and 'recipe=rpi5' choose a recipe"),
        (["twin.yaml"], "'twin.yaml' and 'twin.yml' stand side by side"),
        (["./sub"], "'./sub' is a folder"),
    ],
)
def test_wrong(here, line, message):
    (here / "sub").mkdir()
    for name in ("aa.yaml", "bb.yaml", "sub/aa.yaml", "twin.yaml", "twin.yml"):
        (here / name).touch()
    with pytest.raises(RecipeError) as caught:
        words(*line)
    assert message in str(caught.value)


def test_jobs_of_a_build():
    with pytest.raises(RecipeError, match="found '0'"):
        parse("build", ["--jobs", "0"])


@pytest.mark.parametrize("word", ["gates=null", "model=3", "data=true"])
def test_what_is_chosen_from_a_group_is_a_name(word):
    with pytest.raises(RecipeError, match="expected the name of a choice"):
        rewritten(word, GROUPS | {"gates", "data"})
    assert rewritten(f"{word}.yaml", GROUPS | {"gates", "data"}) == f"{word}.yaml"
    assert rewritten("gates.size_mb=null", GROUPS) == "++gates.size_mb=null"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("model.imgsz=320", "++model.imgsz=320"),
        ("model=yolo11n", "model=yolo11n"),
        ("model={imgsz: 320}", "++model={imgsz: 320}"),
        ("~model", "~model"),
        ("+target=x", "+target=x"),
        ("modle=yolo11n", "++modle=yolo11n"),
    ],
)
def test_rewritten(word, expected):
    assert rewritten(word, GROUPS) == expected


@pytest.mark.parametrize(
    "name", ["a", "x86-cpu_1.0", "my ré", "it's", "a,b", "null", "True", "1st", "a=b", "back\\", "q\\'"]
)
def test_quoted_names_are_read_back_by_hydra(name):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([f"recipe={quoted(name)}"])
    assert override.value() == name
