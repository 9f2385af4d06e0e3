"""The JSON schema suits the YAML that people write, and the committed one is current."""

from __future__ import annotations

import json

import pytest
import yaml

from edgecompile.places import recipes_folder
from edgecompile.recipe import jsonschema as ours

SCHEMA = ours.recipe_schema()
RECIPES = sorted(recipes_folder().glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    return jsonschema.Draft7Validator(SCHEMA)


def test_the_committed_schema_is_current():
    """When this fails: edgecompile schema > recipes/recipe.schema.json"""
    assert (recipes_folder() / "recipe.schema.json").read_text(encoding="utf-8") == ours.text()


@pytest.mark.parametrize("file", RECIPES, ids=[file.stem for file in RECIPES])
def test_shipped_recipes_point_at_it_and_satisfy_it(validator, file):
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=./recipe.schema.json\n")
    assert not list(validator.iter_errors(yaml.safe_load(text)))


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [x86-cpu_openvino_int8, _self_]\nmodel: {weights: a.pt}\n",
        "defaults: [mine, {/recipe: other}, {override /target: my-own}]\n",
        "passes: {simplify: null, again: {kind: simplify, constant_folding: false}}\n",
        "target: {threads: 4}\n",
        "target: {kind: openvino, inference_precision: bf16}\n",
        "data: {calibration: null}\ngates: {fps: null, map_drop: 0}\n",
        "model: {imgsz: [320, 640]}\norder: [a, b]\n",
        "hydra: {mode: MULTIRUN, sweeper: {params: {model.imgsz: '320,640'}}}\n",
        "hydra: {sweeper: {list_params: {model.imgsz: [320, 640], name: [a, b]}}}\n",
        "objectives: [map50_95, latency_p95_ms, size_mb]\nhydra: {sweeper: {n_trials: 20}}\n",
        "schema: 1\nname: x\n",
    ],
)
def test_accepts(validator, text):
    assert not list(validator.iter_errors(yaml.safe_load(text)))


@pytest.mark.parametrize(
    "text",
    [
        "modle: {}\n",
        "model: {imgz: 3}\n",
        "model: {imgsz: '640'}\n",
        "model: {imgsz: 0}\n",
        "passes: {simplfy: {}}\n",
        "passes: {again: {kind: simplfy}}\n",
        "passes: {again: {kind: simplify, foldng: 1}}\n",
        "passes: {int8_static: {method: minmx}}\n",
        "target: {kind: onnxruntime, inference_precision: bf16}\n",
        "target: {thread: 4}\n",
        "gates: {fps: -1}\n",
        "hydra: {run: {dir: x}}\n",
        "hydra: {sweeper: {storage: 'sqlite:///x.db'}}\n",
        "objectives: [speed]\n",
        "objectives: map50_95\n",
        "defaults: quickstart\n",
    ],
)
def test_refuses(validator, text):
    assert list(validator.iter_errors(yaml.safe_load(text)))


def test_fields_are_described_for_completion():
    for name, definition in SCHEMA["definitions"].items():
        if name.startswith("pass_") or name in ("model", "data", "gates", "evaluate"):
            fields = {key: value for key, value in definition["properties"].items() if key != "kind"}
            bare = [key for key, value in fields.items() if "description" not in value and "$ref" not in value]
            assert not bare or name == "data", (name, bare)


def test_the_verb(run):
    ran = run("schema")
    assert ran.code == 0
    assert json.loads(ran.out) == SCHEMA
