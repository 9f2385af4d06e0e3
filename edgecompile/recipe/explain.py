"""Turns what pydantic found wrong into lines for people: what was found, what is expected, the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from edgecompile.errors import Problem, nearest
from edgecompile.recipe.locate import Origins

EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "none_required": "null",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length} entries",
    "missing": "more entries",
    "too_long": "at most {max_length} entries",
    "string_pattern_mismatch": "text of the form {pattern}",
}


def problems_of(
    error: ValidationError, model: type[BaseModel], prefix: tuple[str, ...], data: Any, origins: Origins
) -> Iterator[Problem]:
    """Yields one problem for each key of `data` that `model` refuses.

    Args:
        prefix: the key path of `data` in the recipe.
        data: what was validated, plain JSON values.
    """
    by_path: dict[tuple[str, ...], list[Any]] = {}
    for fault in error.errors(include_url=False):
        by_path.setdefault(_path(fault, data), []).append(fault)
    for path, faults in by_path.items():
        if any(len(other) > len(path) and other[: len(path)] == path for other in by_path):
            continue  # a mapping where a word may stand too: what is wrong in it says more
        where = str(origins.of(*prefix, *path))
        yield _problem(faults, path, where, _model_at(model, path[:-1]))


def show(value: Any) -> str:
    """Returns a value as a person would write it, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = f"the text '{value}'" if isinstance(value, str) else "a mapping" if isinstance(value, dict) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _path(fault: Any, data: Any) -> tuple[str, ...]:
    """Returns the part of a fault's location that exists in `data`: behind it, and before the keys of a mapping where
    another value may stand too, pydantic names the members of unions."""
    path: list[str] = []
    for key in fault["loc"]:
        missing = fault["type"] == "missing" and key == fault["loc"][-1]
        inside = (isinstance(data, dict) and key in data) or (isinstance(data, list) and key in range(len(data)))
        if not inside and not missing:
            if isinstance(data, dict):
                continue
            break
        path.append(str(key))
        data = data[key] if inside else None
    return tuple(path)


def _problem(faults: list[Any], path: tuple[str, ...], where: str, around: type[BaseModel] | None) -> Problem:
    first = faults[0]
    if first["type"] == "extra_forbidden":
        return Problem(f"unknown key '{path[-1]}'", where, nearest(path[-1], keys_of(around) if around else ()))
    if first["type"] == "missing":
        return Problem("is required and was not given", where)
    if first["type"] in ("value_error", "assertion_error"):
        return Problem(f"found {show(first['input'])}: {first['ctx']['error']}", where)
    expected = list(dict.fromkeys(_expected(fault) for fault in faults if _is_informative(fault, faults)))
    fix = ""
    if isinstance(first["input"], str):
        choices = [choice for fault in faults if fault["type"] == "literal_error" for choice in _choices(fault)]
        fix = nearest(first["input"], choices) if choices else ""
    fix = "" if fix.startswith("valid:") else fix
    return Problem(f"found {show(first['input'])}, expected {' or '.join(expected)}", where, fix)


def _is_informative(fault: Any, faults: list[Any]) -> bool:
    """Returns whether a fault helps a person: where a number is out of range, that it is no list does not."""
    range_faults = [candidate for candidate in faults if candidate["type"] in RANGES]
    return not range_faults or fault in range_faults


RANGES = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of"})


def _expected(fault: Any) -> str:
    template = EXPECTED.get(fault["type"])
    if template is None:
        return fault["msg"][:1].lower() + fault["msg"][1:]
    values = fault.get("ctx", {})
    return template.format(**{key: _number(value) for key, value in values.items()})


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _choices(fault: Any) -> Iterator[str]:
    """Yields the names in "'minmax', 'percentile' or 'entropy'"."""
    for part in fault["ctx"]["expected"].replace(" or ", ", ").split(", "):
        yield part.strip("'")


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Returns the keys that a person may write in `model`."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _model_at(model: type[BaseModel], path: tuple[str, ...]) -> type[BaseModel] | None:
    """Returns the model of the section at `path` below `model`, or None where it is none."""
    for key in path:
        field = model.model_fields.get(key)
        nested = [field.annotation, *get_args(field.annotation)] if field else []
        section = next((hint for hint in nested if isinstance(hint, type) and issubclass(hint, BaseModel)), None)
        if section is None:
            return None
        model = section
    return model
