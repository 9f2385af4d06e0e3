"""Completion of keys and values from the typed models: all that a recipe may set, whether or not a file sets it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from edgecompile.recipe.key_names import KIND, models_in
from edgecompile.recipe.kinds import pass_class, pass_kinds, target_class, target_kinds
from edgecompile.recipe.schema import Recipe


@dataclass(frozen=True)
class Chosen:
    """What the words before the word to complete choose, as far as they compose.

    Attributes:
        target: kind of the target; None where it is not known: then the keys of every kind are offered.
        passes: name of each pass to its kind.
    """

    target: str | None = None
    passes: Mapping[str, str] | None = None


def typed_candidates(word: str, chosen: Chosen) -> list[str]:
    """Returns what the beginning of a word such as "target.hint=latency" may become, by the types of recipes.

    A key that holds further keys ends in a dot, every other key in an equals sign. Only keys that take one of
    a few values have candidates for their value.
    """
    sign = word[: len(word) - len(word.lstrip("+~"))]
    path, equals, value = word[len(sign) :].partition("=")
    *above, last = path.split(".")
    fields = _fields(above, chosen)
    if equals:
        completions = [f"{path}={choice}" for choice in _choices(fields.get(last, [])) if choice.startswith(value)]
    else:
        prefix = "".join(f"{key}." for key in above)
        completions = [f"{prefix}{name}{_ending(kinds)}" for name, kinds in fields.items() if name.startswith(last)]
    return sorted(f"{sign}{candidate}" for candidate in completions)


def _fields(path: Sequence[str], chosen: Chosen) -> dict[str, list[Any]]:
    """Returns the keys below a key path, each to what it may hold."""
    if not path:
        return {name: kinds for name, kinds in _below([Recipe], []).items() if _ending(kinds) == "."}
    if path[0] == "passes":
        if len(path) == 1:
            return {name: [pass_class(kind)] for name, kind in (chosen.passes or {}).items()}
        known = (chosen.passes or {}).get(path[1])
        return _below([pass_class(kind) for kind in ([known] if known else pass_kinds())], path[2:])
    if path[0] == "target":
        kinds = [chosen.target] if chosen.target else target_kinds()
        return _below([target_class(kind) for kind in kinds], path[1:])
    return _below([Recipe], path)


def _below(models: Sequence[type[BaseModel]], path: Sequence[str]) -> dict[str, list[Any]]:
    """Returns the keys of models at a path below them, each to the annotations that it has there."""
    fields: dict[str, list[Any]] = {}
    for model in models:
        for name, field in model.model_fields.items():
            if name != KIND:
                fields.setdefault(field.alias or name, []).append(field.annotation)
    if not path:
        return fields
    return _below([model for kind in fields.get(path[0], []) for model in models_in(kind)], path[1:])


def _ending(kinds: Sequence[Any]) -> str:
    return "." if any(True for kind in kinds for _ in models_in(kind)) else "="


def _choices(kinds: Sequence[Any]) -> Iterator[str]:
    """Yields the values of a key that takes one of a few, each once, as a person types them."""
    choices = dict.fromkeys(choice for kind in kinds for choice in _values(kind))
    if choices.keys() - {"null"}:
        yield from choices


def _values(annotation: Any) -> Iterator[str]:
    if annotation is bool:
        yield from ("true", "false")
    elif annotation in (None, NoneType):
        yield "null"
    elif get_origin(annotation) is Literal:
        yield from (str(value).lower() if isinstance(value, bool) else str(value) for value in get_args(annotation))
    elif get_origin(annotation) not in (list, tuple, dict):
        for part in get_args(annotation):
            yield from _values(part)
