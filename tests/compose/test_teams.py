"""What recipes of a team share: bases by relative paths, folders of data by name, names that occur twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecompile.compose.composition import compose
from edgecompile.places import sample_folder
from edgecompile.recipe.recipe_text import check_recipe

CAMERA = "defaults: [../common/base, _self_]\n"
SHARED = "defaults: [quickstart, ./site, _self_]\nmodel: {imgsz: 160}\n"
SITE = "gates: {accuracy_drop: 0.2}\n"


@pytest.fixture
def repository(write) -> None:
    write(SHARED, "common/base.yaml", base=False)
    write(SITE, "common/site.yaml", base=False)
    write(CAMERA, "cams/camera.yaml", base=False)


@pytest.mark.usefixtures("repository")
class TestBases:
    def test_a_base_is_found_beside_the_file_that_names_it(self, here: Path, monkeypatch) -> None:
        recipe = compose("cams/camera.yaml")
        assert (recipe.name, recipe.model.imgsz, recipe.gates.accuracy_drop) == ("camera", 160, 0.2)
        monkeypatch.chdir(here / "cams")
        assert compose("camera.yaml") == recipe

    def test_a_file_of_a_base_is_beside_the_base(self, write, problems) -> None:
        write(SHARED + "data: {path: parts.yaml}\n", "common/base.yaml", base=False)
        told = problems("cams/camera.yaml", "gates.nope=1")
        assert any(line.startswith("common/base.yaml:3:data.path") and "/common and" in line for line in told), told

    def test_what_is_wrong_in_a_base_is_told_there(self, write, problems) -> None:
        write(SHARED + "gates: {fsp: 3}\n", "common/base.yaml", base=False)
        assert problems("cams/camera.yaml")[0].startswith("common/base.yaml:3:gates.fsp: unknown key 'fsp'")

    @pytest.mark.parametrize(
        ("item", "expected"),
        [
            ("../common/bse", "recipe '../common/bse' not found; did you mean 'base'?"),
            ("../nowhere/base", "recipe '../nowhere/base' not found; there is no folder 'nowhere'"),
            ("../common/../../x", "leaves the folder of recipes"),
            ("../hydra/launcher/${x}", "is no name"),
            ("./", "is no name of a recipe"),
        ],
    )
    def test_a_path_that_leads_nowhere(self, write, problems, item: str, expected: str) -> None:
        write(f"defaults: ['{item}', _self_]\n", "cams/camera.yaml", base=False)
        (problem,) = problems("cams/camera.yaml")
        assert problem.startswith("cams/camera.yaml:1:defaults")
        assert expected in problem

    def test_a_base_for_several_devices_overrides_what_they_choose(self, write, problems) -> None:
        write("# @package _global_\ndefaults: [override /model: sample]\n" + SITE, "common/base.yaml", base=False)
        write("defaults: [x86-cpu_onnxruntime_int8, ../common/base, _self_]\n", "cams/camera.yaml", base=False)
        recipe = compose("cams/camera.yaml")
        assert (recipe.model.weights.rpartition("/")[2], recipe.gates.accuracy_drop) == ("parts.pt", 0.2)

    @pytest.mark.parametrize(
        "order", ["x86-cpu_onnxruntime_int8, ../common/base", "../common/base, x86-cpu_openvino_int8"]
    )
    def test_a_choice_that_two_recipes_make_says_how_it_is_changed(self, write, problems, order: str) -> None:
        write("# @package _global_\ndefaults: [/model: sample]\n", "common/base.yaml", base=False)
        write(f"defaults: [{order}, _self_]\n", "cams/camera.yaml", base=False)
        (problem,) = problems("cams/camera.yaml")
        assert "'model' is chosen twice; write '- override /model: NAME', in a recipe that stands behind" in problem

    def test_bases_that_extend_each_other(self, write, problems) -> None:
        write("defaults: [../cams/camera, _self_]\n", "common/base.yaml", base=False)
        (problem,) = problems("cams/camera.yaml")
        assert "the recipe extends itself" in problem


ROOTED = """\
defaults: [quickstart, _self_]
model: {weights: "${env:WEIGHTS_ROOT}/parts.pt"}
data: {path: "${env:DATA_ROOT}/data.yaml"}
"""


class TestDataRoots:
    @pytest.fixture(autouse=True)
    def _roots(self, monkeypatch, write) -> None:
        monkeypatch.setenv("DATA_ROOT", str(sample_folder()))
        monkeypatch.setenv("WEIGHTS_ROOT", str(sample_folder()))
        write(ROOTED, base=False)

    def test_a_folder_of_this_machine(self) -> None:
        recipe = compose("my.yaml")
        assert recipe.data.path == f"{sample_folder()}/data.yaml"
        assert recipe.model.weights == f"{sample_folder()}/parts.pt"

    def test_no_lock_states_the_folder(self, run, here: Path) -> None:
        assert run("lock", "my.yaml").code == 0
        text = (here / "my.lock.yaml").read_text()
        assert str(sample_folder()) not in text
        assert "path: data.yaml" in text

    def test_the_points_of_a_sweep(self, run) -> None:
        ran = run("plan", "-m", "my.yaml", "model.imgsz=128,160", "--json")
        assert [point["problems"] for point in json.loads(ran.out)["points"]] == [[], []]

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("", "the environment variable DATA_ROOT is not set; export DATA_ROOT=/the/folder"),
            ("relative", "DATA_ROOT holds no absolute path of a folder"),
            ("/nowhere/at/all", "DATA_ROOT is '/nowhere/at/all', which is no folder"),
            ("/tmp/${model.weights}", "holds no absolute path"),
            ("/tmp\n_target_: x", "holds no absolute path"),
            ("/" + "a" * 5000, "holds no absolute path"),
        ],
    )
    def test_a_value_that_is_no_folder(self, problems, monkeypatch, value: str, expected: str) -> None:
        monkeypatch.setenv("DATA_ROOT", value)
        (problem,) = problems("my.yaml")
        assert problem.startswith("my.yaml:3:data.path: ")
        assert expected in problem

    def test_a_value_is_never_read_as_grammar(self, here: Path, monkeypatch) -> None:
        strange = here / "a, b={x: 1}'\"#%[~"
        strange.mkdir()
        (strange / "data.yaml").write_text("")
        monkeypatch.setenv("DATA_ROOT", str(strange))
        assert compose("my.yaml").data.path == f"{strange}/data.yaml"

    def test_other_variables_are_a_persons_to_allow(self, write, problems, monkeypatch) -> None:
        monkeypatch.setenv("CAMERA_DATA", str(sample_folder()))
        write(ROOTED.replace("DATA_ROOT", "CAMERA_DATA"), base=False)
        assert problems("my.yaml")[0].startswith("my.yaml:3:data.path: '${env:CAMERA_DATA}' is not for recipes to read")
        monkeypatch.setenv("EDGECOMPILE_ENV", "OTHER, CAMERA_DATA")
        assert compose("my.yaml").data.path == f"{sample_folder()}/data.yaml"

    def test_only_files_lie_in_it(self, problems) -> None:
        assert problems("my.yaml", "description=${env:DATA_ROOT}") == [
            "command line:description: '${env:DATA_ROOT}' stands for a folder of data; "
            "only model.weights and data.path take it"
        ]

    @pytest.mark.parametrize("value", ["${env:HOME}/x", "${ env : DATA_ROOT }", "${env:DATA_ROOT,x}", "${env:${name}}"])
    def test_what_else_a_recipe_may_not_read(self, write, problems, value: str) -> None:
        write(ROOTED.replace("${env:DATA_ROOT}", value), base=False)
        assert problems("my.yaml")[0].startswith("my.yaml:3:data.path: ")

    def test_no_sweep_pastes_it_into_overrides(self, write, problems) -> None:
        params = 'hydra: {sweeper: {params: {++data.path: "${env:DATA_ROOT}/data.yaml"}}}\n'
        write(ROOTED + params, base=False)
        assert "reads more than the recipe" in problems("my.yaml")[0]

    def test_a_config_group_of_a_team(self, here: Path, run) -> None:
        (here / "groups" / "data").mkdir(parents=True)
        (here / "groups" / "data" / "ours.yaml").write_text("path: ${env:DATA_ROOT}/data.yaml\n")
        ran = run("plan", "my.yaml", "--config-dir", "groups", "data=ours", "--cfg", "job", "--resolve")
        assert ran.code == 0, ran.err

    def test_negative_control_the_text_itself_is_refused(self, here: Path) -> None:
        check_recipe(ROOTED, here / "my.yaml")
        with pytest.raises(Exception, match="not for recipes to read"):
            check_recipe(ROOTED.replace("DATA_ROOT", "HOME"), here / "my.yaml")


def points(text: str) -> list[tuple[str, str]]:
    return [(point["name"], point["overrides"][0]) for point in json.loads(text)["points"]]


def test_recipes_of_one_name_keep_their_name_and_tell_their_folders(write, run) -> None:
    write("defaults: [base, _self_]\n", "a/camera.yaml", base=False)
    write("defaults: [quickstart, _self_]\nmodel: {imgsz: 96}\n", "a/base.yaml", base=False)
    write("defaults: [quickstart, _self_]\n", "b/camera.yaml", base=False)
    write("defaults: [quickstart, _self_]\n", "b/base.yaml", base=False)
    ran = run("plan", "-m", "a/camera.yaml", "b/camera.yaml", "b/base.yaml", "--json")
    assert points(ran.out) == [("camera", "recipe=a/camera"), ("camera", "recipe=b/camera"), ("base", "recipe=b/base")]
    sizes = [step["params"]["imgsz"] for step in json.loads(ran.out)["steps"] if "opset" in step["params"]]
    assert sizes == [[96, 96], [256, 256]], "each extends the base beside it"
    assert "is not used" not in ran.err
    assert compose("a/camera.yaml").name == "camera", "alone it is the same recipe"
