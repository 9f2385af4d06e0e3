"""Folders of weights and data that differ from machine to machine: `data: {path: "${env:DATA_ROOT}/parts/data.yaml"}`.

A recipe reads nothing else of the environment. The names that it may read are listed here, and a person may add names
of their own in $EDGECOMPILE_ENV; a recipe cannot. The value is put in when the recipe's text has been read, so it is
never parsed as YAML, as an override or as another interpolation. Locks and bundles state base names and digests of
files, so the folder is no part of what is built.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgecompile.errors import Problem, RecipeError, nearest

NAMES = ("DATA_ROOT", "WEIGHTS_ROOT", "EDGECOMPILE_DATA", "EDGECOMPILE_WEIGHTS")
"""Variables that a recipe may read."""
FURTHER = "EDGECOMPILE_ENV"
"""Variable with further names, joined by commas: those of a team's own."""
KEYS = (("model", "weights"), ("data", "path"))
"""Keys that may name a file below such a folder."""
REFERENCE = re.compile(r"\$\{env:(?P<name>[A-Za-z_][A-Za-z0-9_]{0,99})\}", re.ASCII)
LONGEST = 4096
"""Characters of a folder: no path of Linux is longer."""


def allowed_names() -> list[str]:
    """Returns the names of the variables that a recipe may read here."""
    further = [name.strip() for name in os.environ.get(FURTHER, "").split(",")]
    return list(dict.fromkeys([*NAMES, *filter(None, further)]))


def name_fault(name: str) -> tuple[str, str] | None:
    """Returns why a recipe may not read a variable and what to do, None where it may."""
    allowed = allowed_names()
    if name in allowed:
        return None
    fix = f"{nearest(name, allowed)}; or export {FURTHER}={name[:100]}, if it names a folder of data"
    return f"'${{env:{name[:100]}}}' is not for recipes to read", fix


def data_root(name: Any) -> str:
    """Returns the folder that a variable names.

    Raises:
        RecipeError: the variable is not for recipes to read, is not set, or names no folder.
    """
    variable = str(name)
    if fault := name_fault(variable):
        raise RecipeError(fault[0], fix=fault[1])
    value = os.environ.get(variable, "")
    fix = f"export {variable}=/the/folder"
    if not value:
        raise RecipeError(f"the environment variable {variable} is not set", fix=fix)
    if not value.isprintable() or "${" in value or len(value) > LONGEST or not os.path.isabs(value):
        raise RecipeError(f"{variable} holds no absolute path of a folder", fix=fix)
    if not os.path.isdir(value):
        raise RecipeError(f"{variable} is '{value}', which is no folder", fix=fix)
    return value


def folders() -> list[Path]:
    """Returns the folders that variables name here."""
    values = [Path(value) for name in allowed_names() if (value := os.environ.get(name))]
    return [folder for folder in values if folder.is_absolute() and folder.is_dir()]


def faults(content: Any) -> Iterator[tuple[tuple[str, ...], Problem]]:
    """Yields the key path and the problem of each reference to a variable that may not stand there, or leads nowhere.

    Args:
        content: a recipe as plain values, its interpolations not resolved.
    """
    for keys, text in _texts(content, ()):
        names = [match["name"] for match in REFERENCE.finditer(text)]
        if names and keys not in KEYS:
            fix = f"only {' and '.join('.'.join(key) for key in KEYS)} take it"
            yield keys, Problem(f"'${{env:{names[0]}}}' stands for a folder of data", fix=fix)
            continue
        for name in names:
            try:
                data_root(name)
            except RecipeError as error:
                yield from ((keys, problem) for problem in error.problems)


def _texts(value: Any, keys: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*keys, str(key)))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, keys)
    elif isinstance(value, str):
        yield tuple(keys), value
