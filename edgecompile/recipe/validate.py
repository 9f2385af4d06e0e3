"""From plain data to a typed recipe: every problem at once, each with file:line:key and the nearest valid name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edgecompile.errors import Problem, RecipeError, nearest
from edgecompile.json_types import JsonObject
from edgecompile.passes import Pass
from edgecompile.recipe import kinds
from edgecompile.recipe.explain import keys_of, problems_of, show
from edgecompile.recipe.locate import Origins
from edgecompile.recipe.rules import ReadParts, broken_rules
from edgecompile.recipe.schema import Data, Device, Evaluate, Gates, ModelSettings, Objective, Recipe
from edgecompile.targets import Target

Section = TypeVar("Section", bound=BaseModel)

SECTIONS: dict[str, type[BaseModel]] = {
    "model": ModelSettings,
    "data": Data,
    "gates": Gates,
    "evaluate": Evaluate,
    "device": Device,
}
MISSING = "???"
"""What Hydra leaves where a value must be given and was not."""


PARTS = (*SECTIONS, "target", "passes", "order", "objectives")
"""What a recipe consists of; the rest of its keys are its head: name, description, schema."""


@dataclass(frozen=True)
class Part:
    """One part of a recipe, read.

    Attributes:
        raw: what was written, plain JSON values.
        value: the typed value; None where the part could not be read, or is an order that is not given.
        problems: what is wrong with it.
    """

    raw: Any
    value: Any
    problems: tuple[Problem, ...]


def recipe_from(raw: JsonObject, origins: Origins | None = None) -> Recipe:
    """Returns the typed recipe of a composed recipe.

    Args:
        raw: plain JSON values, without interpolations.
        origins: where each key was set, for the messages.

    Raises:
        RecipeError: with one problem for each thing that is wrong.
        PlanError: two installed passes or targets have the same name.
    """
    origins = origins or Origins()
    parts = {name: read_part(name, raw.get(name), origins) for name in PARTS}
    problems = [problem for part in parts.values() for problem in part.problems]
    problems += problems_between(parts, origins)
    recipe, faults = join({name: value for name, value in raw.items() if name not in PARTS}, parts, origins)
    problems += faults
    if problems or recipe is None:
        raise RecipeError(list(dict.fromkeys(problems)))
    return recipe


def read_part(name: str, raw: Any, origins: Origins) -> Part:
    """Returns one of `PARTS`, whose content as plain JSON values is `raw` (None where it is not given)."""
    reading = _Reading({name: raw}, origins)
    read = {
        "target": reading.target,
        "passes": reading.passes,
        "order": reading.order,
        "objectives": reading.objectives,
    }
    value = read[name]() if name in read else reading.section(name, SECTIONS[name])
    return Part(reading.raw.get(name), value, tuple(reading.problems))


def problems_between(parts: Mapping[str, Part], origins: Origins) -> list[Problem]:
    """Returns the problems between the parts of a recipe, as far as those could be read."""
    model, data, target, passes, order = (parts[name] for name in ("model", "data", "target", "passes", "order"))
    read = ReadParts(model.value, data.value, target.value, passes.value, order.value, data_given=data.raw is not None)
    return broken_rules(read, origins)


def join(head: JsonObject, parts: Mapping[str, Part], origins: Origins) -> tuple[Recipe | None, list[Problem]]:
    """Returns the recipe of its head and its parts, None where they make none, and what is wrong with the head."""
    reading = _Reading(head, origins)
    recipe = reading.whole({name: part.value for name, part in parts.items()})
    return recipe and recipe.with_origins(origins), reading.problems


class _Reading:
    """Some keys of a recipe while they are read; collects the problems."""

    def __init__(self, raw: JsonObject, origins: Origins) -> None:
        self.raw = raw
        self.origins = origins
        self.problems: list[Problem] = []
        self.unreadable()

    def report(self, message: str, *keys: str, fix: str = "") -> None:
        self.problems.append(Problem(message, str(self.origins.of(*keys)), fix))

    def unreadable(self) -> None:
        """Reports values that are missing or no numbers, and goes on without them."""
        for keys, value in list(_walk(self.raw)):
            if not isinstance(value, str | float):
                continue
            if value == MISSING:
                self.report("is required and was not given", *keys)
            elif isinstance(value, float) and not math.isfinite(value):
                self.report(f"{value} is no number to work with", *keys, fix="leave the key out, or write null")
            else:
                continue
            self.raw = _without(self.raw, keys)

    def section(self, name: str, model: type[Section]) -> Section | None:
        """Returns a section; None where it cannot be read."""
        data = self.raw.get(name)
        if data is None:
            data = {}
        if not isinstance(data, dict):
            self.report(f"found {show(data)}, expected a mapping of {', '.join(keys_of(model))}", name)
            return None
        return self.model(model, data, (name,))

    def model(self, model: type[Section], data: JsonObject, prefix: tuple[str, ...]) -> Section | None:
        """Returns `data` as a model; None where it cannot be read. Strict: "640" is no number, 640.0 is not whole."""
        try:
            # JSON, because strict Python input would refuse a list where a tuple is meant.
            return model.model_validate_json(json.dumps(data), strict=True, by_alias=True)
        except ValidationError as error:
            self.problems += problems_of(error, model, prefix, data, self.origins)
            return None

    def target(self) -> Target | None:
        data = self.raw.get("target")
        if data is not None and not isinstance(data, dict):
            self.report(f"found {show(data)}, expected a mapping of {', '.join(keys_of(Target))}", "target")
            return None
        if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
            keys = ("target", "kind") if data and "kind" in data else ("target",)
            self.report("names no target", *keys, fix="choose one: target=NAME; see `edgecompile list targets`")
            return None
        if data["kind"] not in kinds.target_kinds():
            fix = nearest(data["kind"], kinds.target_kinds())
            self.report(f"unknown kind of target '{data['kind']}'", "target", "kind", fix=fix)
            return None
        return self.model(kinds.target_class(data["kind"]), data, ("target",))

    def passes(self) -> dict[str, Pass] | None:
        """Returns the passes by name; None where a pass cannot be read. A pass that is null is left out."""
        data = self.raw.get("passes")
        if not isinstance(data, dict):
            self.report(f"found {show(data)}, expected a mapping of passes by name", "passes")
            return None
        chosen = {name: value for name, value in data.items() if value is not None}
        if not chosen:
            fix = "defaults: [/pass@passes: [onnx_export, simplify]]"
            self.report("names no pass", "passes", fix=f"for example: {fix}")
            return None
        read = {name: self.single_pass(name, value) for name, value in chosen.items()}
        return None if None in read.values() else {name: value for name, value in read.items() if value is not None}

    def single_pass(self, name: str, data: Any) -> Pass | None:
        if not isinstance(data, dict):
            self.report(f"found {show(data)}, expected a mapping (or null to leave it out)", "passes", name)
            return None
        fields = {key: value for key, value in data.items() if key != "kind"}
        kind = data.get("kind", name)
        if kind not in kinds.pass_kinds():
            keys = ("passes", name, "kind") if "kind" in data else ("passes", name)
            hint = "" if "kind" in data else " (a pass of another name states its kind: ...)"
            self.report(f"unknown pass '{kind}'{hint}", *keys, fix=nearest(str(kind), kinds.pass_kinds()))
            return None
        return self.model(kinds.pass_class(kind), fields, ("passes", name))

    def order(self) -> tuple[str, ...] | None:
        data = self.raw.get("order")
        if data is not None and not (isinstance(data, list) and all(isinstance(name, str) for name in data)):
            self.report(f"found {show(data)}, expected a list of the names of passes", "order")
            return None
        return tuple(data) if data is not None else None

    def objectives(self) -> tuple[str, ...]:
        """Returns the figures that a search weighs; none where they cannot be read, which is reported."""
        data = self.raw.get("objectives") or []
        known = get_args(Objective)
        if not (isinstance(data, list) and all(isinstance(name, str) for name in data)):
            self.report(
                f"found {show(data)}, expected a list of figures", "objectives", fix=f"valid: {', '.join(known)}"
            )
            return ()
        for index, name in enumerate(data):
            if name not in known:
                self.report(f"unknown objective '{name}'", "objectives", fix=nearest(name, known))
            elif name in data[:index]:
                self.report(f"'{name}' stands twice", "objectives", fix="name each figure once")
        return tuple(name for name in dict.fromkeys(data) if name in known)

    def whole(self, parts: Mapping[str, object]) -> Recipe | None:
        """Returns the recipe of this head and its parts; reports what is wrong with the head."""
        try:
            return Recipe.model_validate({**self.raw, **parts}, strict=True, by_alias=True)
        except ValidationError as error:
            # What is wrong with a part was reported when it was read.
            faults = problems_of(error, Recipe, (), {**self.raw, **dict.fromkeys(parts)}, self.origins)
            readable = [str(self.origins.of(name)) for name in parts]
            self.problems += [fault for fault in faults if fault.where not in readable]
            return None


def _walk(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields the key path and the value of each leaf."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, (*keys, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*keys, str(index)))
    else:
        yield keys, value


def _without(value: Any, keys: tuple[str, ...]) -> Any:
    """Returns a copy of nested mappings and lists without the key at a path; the items of a list stay."""
    if not keys[1:]:
        return {key: inner for key, inner in value.items() if key != keys[0]} if isinstance(value, dict) else value
    if isinstance(value, list):
        index = int(keys[0])
        return [*value[:index], _without(value[index], keys[1:]), *value[index + 1 :]]
    return {**value, keys[0]: _without(value[keys[0]], keys[1:])}
