"""The JSON schema of the YAML that people write: for editors, which complete keys and check values while they type.

It is made of the typed models, so it cannot drift from them. A file may leave out what it inherits, so nothing is
required; what only a whole recipe shows (rules between keys, an order that cannot work) is left to `plan`.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

from pydantic import BaseModel

from edgecompile.places import recipes_folder
from edgecompile.recipe import folders
from edgecompile.recipe.allowlist import HYDRA_KEYS
from edgecompile.recipe.kinds import pass_class, pass_kinds, target_class, target_kinds
from edgecompile.recipe.schema import Recipe
from edgecompile.recipe.validate import SECTIONS

DIALECT = "http://json-schema.org/draft-07/schema#"
REF = "#/definitions/{model}"
Schema = dict[str, Any]


def text() -> str:
    """Returns the schema as it is written to a file."""
    return json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"


def recipe_schema() -> Schema:
    """Returns the schema of a recipe file (draft 07, which editors' YAML plugins know)."""
    definitions: Schema = {}
    whole = Recipe.model_json_schema(by_alias=True)["properties"]
    properties: Schema = {"defaults": _defaults()}
    properties |= {name: whole[name] for name in ("schema", "name", "description")}
    properties |= {name: _defined(model, name, definitions) for name, model in SECTIONS.items()}
    properties |= {"target": _target(definitions), "passes": _passes(definitions), "order": whole["order"]}
    properties["objectives"] = whole["objectives"]
    properties["hydra"] = _hydra()
    return {
        "$schema": DIALECT,
        "title": "edgecompile recipe",
        "description": "One target device, an ordered set of passes, and the gates that the result must meet.",
        "type": "object",
        "properties": {key: _plain(value) for key, value in properties.items()},
        "additionalProperties": False,
        "definitions": {key: _plain(value) for key, value in sorted(definitions.items())},
    }


def _defaults() -> Schema:
    """Returns the schema of the defaults list: names that exist are offered, others may be a person's own."""

    def named(choices: list[str]) -> Schema:
        return {"anyOf": [{"enum": choices}, {"type": "string"}]}

    groups = {
        f"override /{group}": named([name for name, _ in folders.options(group)])
        for group in ("target", "model", "data", "gates", "evaluate")
    }
    passes = named([name for name, _ in folders.options("pass")])
    item: Schema = {
        "type": "object",
        "properties": {"/pass@passes": {"type": "array", "items": passes}, **groups},
        "additionalProperties": {"type": ["string", "array", "null"]},
        "maxProperties": 1,
    }
    shipped = sorted(file.stem for file in recipes_folder().glob("*.yaml"))
    return {
        "type": "array",
        "description": "What this recipe starts from: a recipe that it extends, passes, choices from config groups. "
        "Overrides stand last.",
        "items": {"anyOf": [{"enum": ["_self_", *shipped]}, {"type": "string"}, item]},
    }


def _target(definitions: Schema) -> Schema:
    """Returns the schema of `target`: the keys of every kind, or only those of the kind that is written. A key of
    several kinds takes what any of them takes."""
    kinds = target_kinds()
    refs = {kind: _defined(target_class(kind), f"target_{kind}", definitions) for kind in kinds}
    forms: dict[str, list[Schema]] = {}
    for kind in kinds:
        for key, value in definitions[f"target_{kind}"]["properties"].items():
            if value not in forms.setdefault(key, []):
                forms[key].append(value)
    merged = {key: schemas[0] if len(schemas) == 1 else {"anyOf": schemas} for key, schemas in forms.items()}
    return {
        "type": "object",
        "description": "The device and its runtime. Choose a target in the defaults: override /target: NAME.",
        "properties": {**merged, "kind": {"enum": list(kinds)}},
        "additionalProperties": False,
        "allOf": [_if_kind(kind, ref) for kind, ref in refs.items()],
    }


def _passes(definitions: Schema) -> Schema:
    """Returns the schema of `passes`: a pass named by its kind, or of any name with its kind written."""
    kinds = pass_kinds()
    refs = {kind: _defined(pass_class(kind), f"pass_{kind}", definitions) for kind in kinds}
    for kind in kinds:
        definitions[f"pass_{kind}"]["properties"]["kind"] = {"const": kind}
    return {
        "type": "object",
        "description": "Passes by name; null leaves a pass out.",
        "properties": {kind: {"anyOf": [ref, {"type": "null"}]} for kind, ref in refs.items()},
        "additionalProperties": {
            "type": ["object", "null"],
            "required": ["kind"],
            "properties": {"kind": {"enum": list(kinds)}},
            "allOf": [_if_kind(kind, ref) for kind, ref in refs.items()],
        },
    }


def _hydra() -> Schema:
    return {
        "type": "object",
        "description": f"Of Hydra's settings a recipe may set {', '.join(HYDRA_KEYS)}.",
        "properties": {
            "mode": {"enum": ["RUN", "MULTIRUN"]},
            "sweeper": {
                "type": "object",
                "properties": {
                    "params": {"type": "object", "description": "swept keys: model.imgsz: 320,640"},
                    "list_params": {"type": "object", "description": "lists gone through side by side (sweeper: list)"},
                    "grid_params": {"type": "object", "description": "lists of which each is combined (sweeper: list)"},
                    "n_trials": {"type": "integer", "minimum": 1, "description": "points of a search"},
                },
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    }


def _if_kind(kind: str, ref: Schema) -> Schema:
    return {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": ref}


def _defined(model: type[BaseModel], name: str, definitions: Schema) -> Schema:
    """Adds the schema of a model, and of those inside it, to the definitions; returns a reference to it."""
    schema = model.model_json_schema(by_alias=True, ref_template=REF)
    definitions.update(schema.pop("$defs", {}))
    for key, about in _documented(model).items():
        schema["properties"].get(key, {}).setdefault("description", about)
    schema["description"] = (
        (inspect.getdoc(model) or "").partition("\n\n")[0].replace("\n", " ") if model.__doc__ else name
    )
    definitions[name] = schema
    return {"$ref": REF.format(model=name)}


def _documented(model: type[BaseModel]) -> dict[str, str]:
    """Returns the description of each field in the docstrings of a model and of its bases."""
    descriptions: dict[str, str] = {}
    for base in model.__mro__:
        section = re.search(r"^Fields.*?:\n((?: {4}.*\n?|\n)+)", inspect.cleandoc(base.__doc__ or "") + "\n", re.M)
        for entry in re.finditer(r"^ {4}(\w+): ((?:.|\n {5,})+)", section.group(1) if section else "", re.M):
            descriptions.setdefault(entry.group(1), " ".join(entry.group(2).split()))
    return descriptions


def _plain(schema: Any) -> Any:
    """Returns a schema without what pydantic adds for programs: titles, and what is required of a whole recipe."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _plain(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)}
    if "properties" in kept and kept.get("additionalProperties") is False:
        kept.pop("required", None)
    return kept
