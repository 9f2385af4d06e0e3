"""Composition: extending, shadowing, groups, paths, names, and what Hydra refuses, told by us."""

from __future__ import annotations

import shutil

import pytest

from edgecompile.compose.composition import compose, folder_name
from edgecompile.errors import RecipeError
from edgecompile.places import sample_folder
from edgecompile.recipe.materials import find_materials

EXTENDS = "defaults: [x86-cpu_openvino_int8, _self_]\nmodel: {imgsz: 320}\n"


def test_the_quickstart_is_the_default():
    recipe = compose()
    assert recipe.name == "quickstart"
    assert recipe.model.weights == "sample://parts.pt"


def test_extends_a_shipped_recipe(write):
    recipe = compose(write(EXTENDS, base=False))
    assert (recipe.name, recipe.model.imgsz, recipe.target.kind) == ("my", 320, "openvino")
    assert recipe.gates.accuracy_drop == 0.01  # inherited
    assert recipe.model.weights == "yolo11n.pt"


@pytest.mark.parametrize(
    "item", ["/recipe: x86-cpu_openvino_int8", "/recipe/x86-cpu_openvino_int8", "recipe: x86-cpu_openvino_int8"]
)
def test_other_ways_to_write_it(write, item):
    recipe = compose(write(f"defaults:\n  - {item}\n  - _self_\nmodel: {{imgsz: 320}}\n", base=False))
    assert (recipe.model.imgsz, recipe.target.kind) == (320, "openvino")


def test_the_recipe_as_the_design_shows_it(write):
    text = """\
# @package _global_
defaults:
  - /pass@passes: [onnx_export, simplify, int8_static]
  - override /target: x86-cpu_openvino
model: {weights: yolo11n.pt, imgsz: 640}
data:
  path: coco128.yaml
  calibration: {split: train, images: 300}
  validation:  {split: val}
gates: {map_drop: 0.01, latency_p95_ms: 100, fps: 30, peak_memory_mb: 512, size_mb: 8}
"""
    recipe = compose(write(text, base=False))
    assert (recipe.target.kind, recipe.gates.fps, recipe.data.calibration.images) == ("openvino", 30, 300)


def test_two_levels_and_another_target(write):
    write(
        "defaults: [x86-cpu_openvino_int8, _self_]\nmodel: {imgsz: 320}\ngates: {map_drop: 0.2}\n",
        "mid.yaml",
        base=False,
    )
    top = "defaults:\n  - mid\n  - _self_\n  - override /target: x86-cpu_onnxruntime\nmodel: {imgsz: 416}\n"
    recipe = compose(write(top, "top.yaml", base=False))
    assert (recipe.model.imgsz, recipe.gates.map_drop, recipe.target.kind) == (416, 0.2, "onnxruntime")


def test_without_self_the_own_content_comes_last(write):
    assert compose(write("defaults: [x86-cpu_openvino_int8]\nmodel: {imgsz: 320}\n", base=False)).model.imgsz == 320


def test_a_folder_with_spaces_and_letters(write):
    recipe = compose(write(EXTENDS, "mein ördner/my ré, it's.yaml", base=False))
    assert recipe.name == "my ré, it's"


def test_a_yml_file(write):
    assert compose(write(EXTENDS, "short.yml", base=False)).name == "short"


def test_a_recipe_of_the_working_directory(write):
    write(EXTENDS, "recipes/local.yaml", base=False)
    assert compose("recipe=local").model.imgsz == 320


def test_the_command_line_overrules_the_recipe(write):
    name = write(EXTENDS, base=False)
    recipe = compose(name, "model.imgsz=416", "gates.fps=3", "passes.simplify=null", "name=other")
    assert (recipe.model.imgsz, recipe.gates.fps, recipe.name) == (416, 3, "other")
    assert "simplify" not in recipe.passes
    assert compose(name, "~passes.simplify").passes.keys() == recipe.passes.keys()
    assert compose(name, "+passes.again.kind=simplify").ordered_names()[3] == "again"
    assert compose(name, "model={imgsz: 416}").model.weights == "yolo11n.pt"
    assert compose(name, "pass@passes=[onnx_export]").ordered_names() == ("onnx_export",)


def test_a_sweep_is_for_the_command_line(problems):
    assert "several values; add -m" in problems("model.imgsz=320,640")[0]


UNKNOWN = [
    (["recipe=quikstart"], "command line:recipe: unknown recipe 'quikstart'; did you mean 'quickstart'?"),
    (
        ["target=x86-cpu_openvno"],
        "command line:target: unknown target 'x86-cpu_openvno'; did you mean 'x86-cpu_openvino'?",
    ),
    (["model=yolo11x9"], "command line:model: unknown choice of 'model' 'yolo11x9'; did you mean 'yolo11n'?"),
    (["pass@passes=[simplfy]"], "unknown pass 'simplfy'; did you mean 'simplify'?"),
    (["targt=x86-cpu_openvino"], "command line:targt: unknown key 'targt'; did you mean 'target'?"),
    (["model.imgz=32"], "command line:model.imgz: unknown key 'imgz'; did you mean 'imgsz'?"),
    (["gates.map_drp=0.1"], "command line:gates.map_drp: unknown key 'map_drp'; did you mean 'map_drop'?"),
    (["model.imgsz=33"], "command line:model.imgsz: found 33, expected a multiple of 32"),
    (
        ["model.imgsz=32", "++model.dynamic.imgsz=[31,32,64]"],
        "command line:model.dynamic.imgsz: found 31, expected a multiple of 32",
    ),
    (["model.imgsz=[1,2"], "command line:model.imgsz: '[' in [1,2 has no partner"),
    (["~passes.nothing"], "command line:~passes.nothing: nothing to delete"),
    (["model.weights=${oc.env:HOME}"], "command line:model.weights: Unsupported interpolation type oc.env"),
    (
        ["quikstart"],
        "command line: 'quikstart' is neither a recipe nor an override (key=value); did you mean 'quickstart'?",
    ),
    (["nope.yaml"], "command line: recipe file 'nope.yaml' not found"),
]


@pytest.mark.parametrize(("words", "expected"), UNKNOWN, ids=[" ".join(words) for words, _ in UNKNOWN])
def test_the_command_line_told_wrong(problems, words, expected):
    found = problems(*words)
    assert len(found) == 1
    assert found[0].startswith(expected) or expected in found[0], found


WRONG_DEFAULTS = [
    ("defaults: [quikstart]", "my.yaml:1:defaults: unknown recipe 'quikstart'; did you mean 'quickstart'?"),
    ("defaults:\n  - override /target: rasp", "my.yaml:2:defaults: unknown target 'rasp'; valid:"),
    ("defaults:\n  - /pass@passes: [simplfy]", "my.yaml:2:defaults: unknown pass 'simplfy'; did you mean 'simplify'?"),
    ("defaults: {a: b}", "defaults must be a list"),
    ("defaults:\n  - override /targt: x86-cpu_openvino", "Could not override"),
    ("defaults:\n  - override /target: x86-cpu_openvino\n  - quickstart", "Overrides must be at the end"),
    ("defaults:\n  - {a: b, c: d}", "Too many keys"),
    ("defaults: [my]", "extends itself"),
    ("defaults: [_self_, _self_]", "Duplicate _self_"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG_DEFAULTS, ids=[text[:40] for text, _ in WRONG_DEFAULTS])
def test_a_wrong_defaults_list(write, problems, text, expected):
    found = problems(write(text + "\n", base=False))
    assert len(found) == 1
    assert expected in found[0]
    assert "my" in found[0]


def test_two_recipes_that_extend_each_other(write, problems):
    write("defaults: [b]\n", "a.yaml", base=False)
    write("defaults: [a]\n", "b.yaml", base=False)
    assert "extends itself" in problems("a.yaml")[0]


def test_the_guard_reads_extended_recipes_too(write, problems):
    write("model: {_target_: os.system}\n", "evil.yaml", base=False)
    assert problems(write("defaults: [evil]\n", base=False))[0].startswith("evil.yaml:1:model._target_: ")


def test_a_choice_that_changes_nothing(write, problems):
    text = "defaults: [quickstart]\nmodel: {weights: sample://parts.pt, imgsz: 256}\n"
    found = problems(write(text, base=False), "model=yolo26n")
    assert found == [
        "command line:model=yolo26n: changes nothing: my.yaml:2:model.weights overrules it; "
        "set the key itself: model.weights=…"
    ]
    assert compose("recipe=quickstart", "model=yolo26n").model.weights == "yolo26n.pt"  # the control


def test_paths_are_relative_to_the_file_that_names_them(write, here, tmp_path, monkeypatch):
    shutil.copy(sample_folder() / "parts.pt", here / "w.pt")
    write("model: {weights: w.pt}\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert find_materials(compose(str(here / "my.yaml"))).weights.paths == (str(here / "w.pt"),)
    with pytest.raises(RecipeError, match=r"command line:model.weights: weights 'w.pt' not found"):
        find_materials(compose(str(here / "my.yaml"), "model.weights=w.pt"))
    shutil.copy(sample_folder() / "parts.pt", elsewhere / "w.pt")
    typed = compose("quickstart", "model.weights=w.pt", "model.imgsz=256")
    assert find_materials(typed).weights.paths == (str(elsewhere / "w.pt"),)


def test_a_path_that_an_extended_recipe_names(write, here):
    (here / "base").mkdir()
    shutil.copy(sample_folder() / "parts.pt", here / "recipes.pt")
    write("model: {weights: ../recipes.pt}\n", "base/mid.yaml")
    write("defaults: [mid]\n", "base/top.yaml", base=False)
    assert find_materials(compose("base/top.yaml")).weights.paths == (str(here / "recipes.pt"),)


def test_where_a_recipe_was_written_is_no_part_of_it(write):
    assert compose(write(EXTENDS, base=False)) == compose(write(EXTENDS, "sub/my.yaml", base=False))


def test_interpolation(write):
    assert compose("name=${target.arch}").name == "x86_64"
    assert compose(write("name: on ${target.arch}\n")).name == "on x86_64"


def test_the_environment_is_left_as_it_was(monkeypatch):
    from omegaconf import OmegaConf

    compose()
    monkeypatch.setenv("SEEN", "1")
    assert OmegaConf.create({"a": "${oc.env:SEEN}"}).a == "1"


@pytest.mark.parametrize(
    ("text", "name"), [("a/b", "a_b"), ("../x", "_x"), ("", "unnamed"), ("my ré", "my ré"), ("x" * 300, "x" * 100)]
)
def test_folder_name(text, name):
    assert folder_name(text) == name


def test_a_number_of_too_many_digits_on_the_command_line(problems):
    assert problems("quickstart", f"model.imgsz={'9' * 5000}") == [
        "command line:model.imgsz: a number of too many digits"
    ]
