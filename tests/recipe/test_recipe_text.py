"""What the guard refuses, with the line, and beside each refusal what it lets through."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgecompile import yaml_text
from edgecompile.errors import RecipeError
from edgecompile.recipe import recipe_text

FILE = Path("r.yaml")

REFUSED = [
    ("a: &x [1]\nb: *x\n", 1, "anchors and aliases ('x') are refused"),
    ("b: *x\n", 1, "anchors and aliases"),
    ("a: 1\nb: !!python/object:os.system 1\n", 2, "tags"),
    ("a: !!int '3'\n", 1, "tags"),
    ("model:\n  _target_: os.system\n", 2, "names code to run"),
    ("a: {_partial_: true}\n", 1, "names code to run"),
    ("a:\n  - _args_: [1]\n", 2, "names code to run"),
    ("a: {_recursive_: 1}\n", 1, "names code to run"),
    ("a: {_convert_: all}\n", 1, "names code to run"),
    ("a: {(): os.system}\n", 1, "names code to run"),
    ("a: 1\nb: 2\na: 3\n", 3, "stands twice (first in line 1)"),
    ("m:\n  a: 1\n  a: 2\n", 3, "stands twice"),
    ("a: ${oc.env:HOME}\n", 1, "'${oc.env:…}' reads more than the recipe"),
    ("a:\n  - ${now:%Y}\n", 2, "'${now:…}'"),
    ('a: "${oc.decode:${b}}"\n', 1, "'${oc.decode:…}'"),
    ("a: 012\n", 1, 'write 12 or "012"'),
    ("imgsz: 0640\n", 1, "octal"),
    ("a: 1:30\n", 1, "base 60"),
    ("a: .nan\n", 1, "no number"),
    ("a: -.inf\n", 1, "no number"),
    (f"a: {'9' * 5000}\n", 1, "5000 digits"),
    (f"a: 0x{'f' * 5000}\n", 1, "5002 digits"),
    (f"a: 0b{'1' * 20000}\n", 1, "20002 digits"),
    ("yes: 1\n", 1, "does not read the key 'yes' as text"),
    ("1: a\n", 1, "does not read the key '1' as text"),
    ("? [a, b]\n: c\n", 1, "a key must be a plain name"),
    ("a: [1,\n", 2, "not YAML"),
    ("a: 1\n\tb: 2\n", 2, "indent with spaces"),
    ("a: b: c\n", 1, "not YAML"),
    ("a: 1\n---\nb: 2\n", 2, "a second document"),
    ("- a\n", 1, "holds no keys"),
    ("just words\n", 1, "holds no keys"),
    ("defaults: quickstart\n", 1, "write [quickstart]"),
    ("defaults: [x/../../etc/passwd]\n", 1, "leaves the folder of recipes"),
    ("defaults:\n  - evil@hydra.job_logging\n", 2, "sets Hydra itself"),
    ("defaults:\n  - evil@_global_.hydra.job_logging\n", 2, "sets Hydra itself"),
    ("defaults:\n  - /data@hydra.callbacks: evil\n", 2, "sets Hydra itself"),
    ("defaults:\n  - override hydra/job_logging: evil\n", 2, "sets Hydra itself"),
    ("# @package hydra.job_logging\na: 1\n", 1, "not for recipes to set"),
    ("hydra: {run: {dir: /etc}}\n", 1, "is not for a recipe to set"),
    ("hydra: {job_logging: {version: 1}}\n", 1, "is not for a recipe to set"),
    ("a: " + "[" * 60 + "]" * 60, 1, "nested deeper than 16"),
    ("a: " + " ".join("${b}" for _ in range(9)) + "\n", 1, "more than 8 interpolations"),
]


@pytest.mark.parametrize(("text", "line", "words"), REFUSED, ids=[text[:40] for text, *_ in REFUSED])
def test_refused(text, line, words):
    with pytest.raises(RecipeError) as caught:
        recipe_text.check_recipe(text, FILE)
    told = [str(one) for one in caught.value.problems]
    assert any(one.startswith(f"r.yaml:{line}") and words in one for one in told), told


FINE = [
    "",
    "# only a comment\n",
    "a: 0\nb: 00\nc: 0.5\nd: 1e-3\ne: -3\nf: 0x10\n",
    "a: '012'\nb: \"1:30\"\nc: '.nan'\n",
    "a: ${model.imgsz}\nb: ${a}\n",
    "'yes': 1\n",
    "hydra: {mode: MULTIRUN, sweeper: {params: {model.imgsz: '320,640'}}}\n",
    "defaults:\n  - /pass@passes: [onnx_export]\n  - /recipe: quickstart\n  - override /target: x\n  - _self_\n",
    "defaults:\n  - override /hydra/launcher: joblib\n",
    "---\na: 1\n",
    "description: costs 1 * 2 & more, <<quoted>>\n",
]


@pytest.mark.parametrize("text", FINE, ids=[text[:40] for text in FINE])
def test_control_fine(text):
    recipe_text.check_recipe(text, FILE)


def test_all_in_one_reading():
    with pytest.raises(RecipeError) as caught:
        recipe_text.check_recipe("a: 012\n_target_: x\nb: ${oc.env:HOME}\na: 1\n", FILE)
    assert [str(one).partition(": ")[0] for one in caught.value.problems] == [
        "r.yaml:1:a",
        "r.yaml:2:_target_",
        "r.yaml:3:b",
        "r.yaml:4:a",
    ]


def test_alias_bomb_is_refused_at_once():
    """Nine levels of ten aliases: loading it would make a thousand million nodes."""
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    began = time.monotonic()
    with pytest.raises(RecipeError, match="anchors and aliases"):
        recipe_text.check_recipe(bomb, FILE)
    assert time.monotonic() - began < 2


def test_a_large_file_is_not_read(tmp_path):
    file = tmp_path / "large.yaml"
    file.write_text("#" * (yaml_text.LARGEST + 1))
    with pytest.raises(RecipeError, match="larger than 64 KiB"):
        yaml_text.read_text(file)
    file.write_text("#" * yaml_text.LARGEST)
    assert len(yaml_text.read_text(file)) == yaml_text.LARGEST


def test_text_that_is_not_utf8(tmp_path):
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(RecipeError, match=r"latin.yaml:2: not UTF-8 text"):
        yaml_text.read_text(file)


def test_a_control_character():
    with pytest.raises(RecipeError, match="not YAML"):
        recipe_text.check_recipe("a: \x01\n", FILE)


def test_data_may_number_its_classes_and_say_yes():
    yaml_text.check_data("names: {0: yes, 1: no}\ndownload: https://x\n", FILE)
    with pytest.raises(RecipeError, match="anchors"):
        yaml_text.check_data("a: &a 1\n", FILE)
