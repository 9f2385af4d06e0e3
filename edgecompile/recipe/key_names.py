"""Which keys a recipe has, read off the typed models: what a sweep may change and what a message may name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from edgecompile.passes import Pass
from edgecompile.recipe.explain import keys_of
from edgecompile.recipe.kinds import pass_class, pass_kinds, target_class, target_kinds
from edgecompile.recipe.schema import Recipe

ROOTS = keys_of(Recipe)
"""Keys at the root of a recipe."""
KIND = "kind"
Unknown = tuple[str, tuple[str, ...]]
"""A part of a key path that no recipe has, and the names that are valid in its place."""


def unknown_part(keys: Sequence[str]) -> Unknown | None:
    """Returns what no recipe has of a key path such as ("passes", "int8_static", "method"); None where all is known.

    A pass may have any name, so its fields are those of any kind; so are the fields of a target.
    """
    root, *rest = keys
    if root == "passes" and rest:
        return _unknown_in([pass_class(kind) for kind in pass_kinds()], rest[1:], {KIND})
    if root == "target" and rest:
        return _unknown_in([target_class(kind) for kind in target_kinds()], rest, set())
    return _unknown_in([Recipe], keys, set())


def _unknown_in(models: Iterable[type[BaseModel]], keys: Sequence[str], further: set[str]) -> Unknown | None:
    """Returns the part of `keys` that none of `models` has; `further` are keys that no model states."""
    if not keys:
        return None
    kinds: dict[str, list[Any]] = {name: [] for name in further}
    for model in models:
        for name, field in model.model_fields.items():
            kinds.setdefault(field.alias or name, []).append(field.annotation)
    first, rest = keys[0], keys[1:]
    if first not in kinds:
        return first, tuple(sorted(kinds))
    if not rest:
        return None
    inner = [model for kind in kinds[first] for model in models_in(kind)]
    if inner:
        return _unknown_in(inner, rest, set())
    takes_keys = any(_is_container(kind) for kind in kinds[first])
    return None if takes_keys else (rest[0], ())


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yields the models that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation is not Pass:
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def _is_container(annotation: Any) -> bool:
    """Returns whether a field may hold a mapping or a list."""
    return get_origin(annotation) in (dict, list, tuple) or any(map(_is_container, get_args(annotation)))
