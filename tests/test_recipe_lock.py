"""A lock beside a recipe: written without running anything, held to by `build --locked`, never taken for a recipe."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

import pytest
import yaml
from exported import exported
from rough_measurement import SECTION

from edgecompile import cli
from edgecompile.build import resolved
from edgecompile.compose.completion import candidates
from edgecompile.compose.composition import compose
from edgecompile.errors import PlanError
from edgecompile.execute import hardware, tools
from edgecompile.recipe_lock import lock_beside, require_locked
from edgecompile.runtime.archive import Archive

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "edgecompile/sample"
RECIPE = (
    """\
defaults: [quickstart, _self_]
model:
  weights: parts.pt
data:
  path: data/data.yaml
"""
    + SECTION
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a recipe, weights and data of its own, and an empty store."""
    folder = tmp_path / "here"
    shutil.copytree(SAMPLE, folder / "data")
    shutil.move(folder / "data/parts.pt", folder / "parts.pt")
    (folder / "my.yaml").write_text(RECIPE)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EDGECOMPILE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGECOMPILE_MACHINE", str(tmp_path / "machine"))
    return folder


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]):
    """Runs a command line in this process; returns exit code, stdout and the lines of stderr."""

    def run_line(*words: str) -> tuple[int, str, list[str]]:
        capfd.readouterr()
        code = cli.main(words)
        out, err = capfd.readouterr()
        return code, out, err.splitlines()

    return run_line


def nothing_ran(here: Path) -> bool:
    entries = here.parent / "cache/entries"
    return not (here / "outputs").exists() and not any(path.is_file() for path in entries.rglob("*"))


def test_a_lock_stands_beside_its_recipe_and_depends_on_no_store(here, run):
    assert run("lock", "my.yaml") == (0, f"{here / 'my.lock.yaml'}\n", [])
    written = (here / "my.lock.yaml").read_bytes()
    lock = yaml.safe_load(written)
    assert lock["recipe"]["passes"]["int8_static"]["method"] == "minmax"  # a default is written out
    assert lock["tools"]["onnx"] == tools.version_of("onnx")
    assert all(step["key"] is None and step["output"] is None for step in lock["steps"])
    assert str(here) not in written.decode()
    assert nothing_ran(here)
    assert run("lock", "my.yaml", "--out", "other/a.lock.yaml")[0] == 0
    assert (here / "other/a.lock.yaml").read_bytes() == written


def test_a_lock_replaces_nothing_but_a_lock(here, run):
    recipe = (here / "my.yaml").read_text()
    code, out, lines = run("lock", "my.yaml", "--out", "my.yaml")
    assert (code, out) == (2, "")
    assert lines == [
        "edgecompile: my.yaml: would be overwritten, and is no lock; choose another --out, such as NAME.lock.yaml"
    ]
    assert (here / "my.yaml").read_text() == recipe
    assert run("lock", "my.yaml", "--out", "kept")[0] == run("lock", "my.yaml", "--out", "kept")[0] == 0


def test_what_differs_is_told_all_at_once_and_nothing_runs(here, run, monkeypatch):
    """A key, the weights, a picture, a label, a tool, the instruction set and a step's version, each on its line."""
    assert run("lock", "my.yaml")[0] == 0
    (here / "my.yaml").write_text(f"{RECIPE}gates:\n  accuracy_drop: 0.5\n")
    with (here / "parts.pt").open("ab") as stream:
        stream.write(b"\0")
    picture, label = here / "data/images/train/train_0000.jpg", here / "data/labels/test/test_0001.txt"
    picture.write_bytes(picture.read_bytes() + b"\0")
    label.write_text(f"{label.read_text()}\n")
    monkeypatch.setenv(hardware.OVERRIDE, "m68k")
    version_of = tools.version_of
    monkeypatch.setattr(tools, "version_of", lambda name: "0.0.1" if name == "onnxslim" else version_of(name))
    lock = (here / "my.lock.yaml").read_text()
    (here / "my.lock.yaml").write_text(re.sub(r"(name: simplify(?:\n  .*)*?\n  version: )1", r"\g<1>9", lock))
    code, out, lines = run("build", "--locked", "my.yaml")
    assert (code, out) == (3, "")
    expected = [
        r"edgecompile: my\.yaml:8:gates\.accuracy_drop: found 0\.5, locked is 0\.0\d+ \(my\.lock\.yaml\)",
        r"edgecompile: my\.lock\.yaml: weights parts\.pt: found \w{12}, locked is \w{12}",
        r"edgecompile: my\.lock\.yaml: calibration picture train_0000\.jpg: found \w{12}, locked is \w{12}",
        r"edgecompile: my\.lock\.yaml: label file test_0001\.txt: found \w{12}, locked is \w{12}",
        r"edgecompile: my\.lock\.yaml: onnxslim: found 0\.0\.1, locked is [\d.]+",
        r"edgecompile: my\.lock\.yaml: instruction set: found m68k, locked is \S+",
        r"edgecompile: my\.lock\.yaml: step simplify, version: found 1, locked is 9; "
        r"`edgecompile lock my\.yaml` writes the lock again",
    ]
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    assert nothing_ran(here)


PROSE = """
description: told otherwise
target: {source: read elsewhere, proof: another command, status: emulated, board: {soc: another chip}}
"""


def held(name: str) -> None:
    """Holds a recipe to the lock beside it; runs nothing."""
    recipe = compose(name)
    require_locked(lock_beside(recipe), lambda: resolved(recipe), recipe.origins)


def test_rewording_breaks_no_lock(here, run):
    """Nor does a comment, nor what only judges the pictures at hand. The control: a key that has a say."""
    assert run("lock", "my.yaml")[0] == 0
    locked = yaml.safe_load((here / "my.lock.yaml").read_text())["recipe"]
    assert not {"source", "board", "proof"} & locked["target"].keys()
    judged = "  path: data/data.yaml  # our own\n  remark_share: 0.1\n  validation: {minimum: 9, warn_below: 0}\n"
    (here / "my.yaml").write_text(RECIPE.replace("  path: data/data.yaml\n", judged) + PROSE)
    held("my.yaml")
    (here / "my.yaml").write_text(f"{RECIPE}target: {{threads: 1}}\n")
    with pytest.raises(PlanError, match=r"my.yaml:7:target.threads: found 1, locked is 2"):
        held("my.yaml")


def test_an_override_differs_and_so_does_one_that_is_missing(here, run):
    assert run("lock", "my.yaml", "model.imgsz=128")[0] == 0
    assert run("build", "--locked", "my.yaml")[2][0].endswith("model.imgsz: found 256, locked is 128 (my.lock.yaml)")
    code, _, lines = run("build", "--locked", "my.yaml", "model.imgsz=192")
    assert code == 3
    assert lines[0] == "edgecompile: command line:model.imgsz: found 192, locked is 128 (my.lock.yaml)"


def test_a_lock_that_holds_and_the_lock_of_the_bundle_it_made(here, run):
    """Both before and after: the lock without outputs, then that of the bundle, beside the recipe under either name."""
    assert run("lock", "my.yaml")[0] == 0
    code, out, _ = run("build", "--locked", "--quiet", "my.yaml")
    assert code == 0
    bundle = out.splitlines()[-1]
    code, out, _ = run("reproduce", "--quiet", "my.lock.yaml", "--search", ".", "--out", "again")
    assert code == 0
    assert out.startswith("reproduced: all that the lock states; it states no outputs")
    with Archive(Path(bundle)) as archive:
        made = archive.read("recipe.lock.yaml").decode()
    (here / "my.lock.yaml").write_text(made)
    assert run("build", "--locked", "--quiet", "my.yaml")[0] == 0
    (here / "my.lock.yaml").unlink()
    (here / "recipe.lock.yaml").write_text(made)
    assert run("build", "--locked", "--quiet", "my.yaml")[0] == 0
    # The negative control: an output that is not the one of the lock ends the build without a bundle.
    altered = re.sub(r"(name: simplify\n  output: )\w{64}", rf"\g<1>{'f' * 64}", made)
    assert altered != made
    (here / "recipe.lock.yaml").write_text(altered)
    code, out, lines = run("build", "--locked", "--quiet", "my.yaml")
    assert (code, out) == (5, "")
    told = "recipe.lock.yaml: step 'simplify' put out something else than is locked, of equal inputs"
    assert lines == [f"edgecompile: {told}"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["my.yaml"], "command line:--locked: no lock 'my.lock.yaml'; run `edgecompile lock my.yaml`"),
        ([], "command line:--locked: no lock 'quickstart.lock.yaml'; run `edgecompile lock quickstart`"),
    ],
)
def test_without_a_lock(here, run, words, line):
    assert run("build", "--locked", *words) == (2, "", [f"edgecompile: {line}"])
    assert nothing_ran(here)


def test_a_lock_that_is_none(here, run):
    (here / "my.lock.yaml").write_text("schema: 1\n")
    code, out, lines = run("build", "--locked", "my.yaml")
    assert (code, out) == (2, "")
    assert lines[0].startswith("edgecompile: my.lock.yaml:")


def test_a_shipped_recipe_is_locked_in_the_working_directory(here, run):
    assert run("lock", "x86-cpu_openvino_fp32", "model=sample", "data=sample")[0] == 0
    assert (here / "x86-cpu_openvino_fp32.lock.yaml").is_file()
    assert not list((ROOT / "recipes").glob("*.lock.yaml"))


def test_a_recipe_below_recipes_is_locked_there(here, run):
    (here / "recipes").mkdir()
    (here / "recipes/own.yaml").write_text("defaults: [quickstart, _self_]\n")
    assert run("lock", "own") == (0, f"{here / 'recipes/own.lock.yaml'}\n", [])


def test_a_lock_is_no_recipe(here, run):
    """Neither listed nor completed nor taken by a glob; and named as what it is where it is given for one."""
    (here / "recipes").mkdir()
    (here / "recipes/own.yaml").write_text("defaults: [quickstart, _self_]\n")
    assert run("lock", "own")[0] == run("lock", "my.yaml")[0] == 0
    assert "own" in run("list", "recipes")[1]
    assert "own.lock" not in run("list", "recipes")[1]
    verbs = {"build": partial(cli.parser_of, "build")}
    found = candidates("edgecompile build recipe=own", verbs) + candidates("edgecompile build m", verbs)
    assert any(one.endswith("own") for one in found)
    assert "my.yaml" in found
    assert not any("lock" in one for one in found)
    assert run("plan", "-m", "recipe=glob(own*)")[0] == 0  # own.lock, taken for a recipe, would be an error
    told = "is a lock; expected a recipe; `edgecompile reproduce` builds what a lock says"
    for words in (["my.lock.yaml"], ["recipe=my.lock.yaml"]):
        assert run("plan", *words) == (2, "", [f"edgecompile: command line: '{words[0]}' {told}"])
    assert run("plan", "recipe=own.lock")[0] == 2


def test_one_recipe_at_a_time(here, run):
    code, _, lines = run("lock", "-m", "my.yaml", "model.imgsz=128,256")
    assert (code, len(lines)) == (2, 1)


def test_a_folder_that_cannot_be_written(here, run):
    (here / "file").touch()
    code, _, lines = run("lock", "my.yaml", "--out", "file/my.lock.yaml")
    assert (code, len(lines)) == (5, 1)
    assert lines[0].startswith("edgecompile: file/my.lock.yaml: the lock cannot be written: ")


def test_external_data_of_an_onnx_model_is_locked(here, run):
    """The weights of a large ONNX model lie in a file beside it: another such file is another model."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load_model_from_string(exported().model.read_bytes())
    onnx.save(model, "m.onnx", save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    passes = "defaults:\n  - /pass@passes: [onnx_import]\n  - override /target: x86-cpu_onnxruntime\n"
    model_and_data = "model: {weights: m.onnx, imgsz: [192, 256]}\ndata: {path: data/data.yaml}\n"
    (here / "my.yaml").write_text(f"{passes}  - override /data: sample\n{model_and_data}")
    assert run("lock", "my.yaml")[0] == 0
    assert [one["name"] for one in yaml.safe_load((here / "my.lock.yaml").read_text())["external_data"]] == [
        "m.onnx.data"
    ]
    with (here / "m.onnx.data").open("ab") as stream:
        stream.write(b"\0")
    code, _, lines = run("build", "--locked", "my.yaml")
    assert code == 3
    assert re.search(r"external data m\.onnx\.data: found \w{12}, locked is \w{12}", lines[0])
