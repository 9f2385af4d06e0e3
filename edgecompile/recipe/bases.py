"""Recipes that another recipe extends by a path relative to itself: `defaults: [../common/base, _self_]`.

So a team keeps what its recipes share in one place of its repository, which is read the same from any directory.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgecompile.errors import RecipeError, nearest
from edgecompile.places import shown
from edgecompile.recipe.folders import SUFFIXES, is_recipe
from edgecompile.recipe.locate import line_of_text

RELATIVE = ("./", "../")


def is_relative(item: str) -> bool:
    """Returns whether an item of a defaults list is a path relative to the file that it stands in."""
    return item.startswith(RELATIVE)


def base_file(file: Path, item: str) -> Path:
    """Returns the absolute path of the recipe that `file` extends by a relative path, with or without its suffix.

    Raises:
        RecipeError: there is no recipe.
    """
    wanted = Path(os.path.abspath(file.parent / item))
    paths = [wanted] if wanted.suffix in SUFFIXES else [wanted.with_name(f"{wanted.name}{end}") for end in SUFFIXES]
    found = next((path for path in paths if path.is_file() and is_recipe(path)), None)
    if found is not None:
        return found
    where = f"{shown(file)}:{line_of_text(file, item) or 1}:defaults"
    if not wanted.parent.is_dir():
        raise RecipeError(f"recipe '{item}' not found", where=where, fix=f"there is no folder '{shown(wanted.parent)}'")
    names = [path.stem for path in sorted(wanted.parent.iterdir()) if is_recipe(path)]
    fix = nearest(wanted.stem, names) if names else f"'{shown(wanted.parent)}' holds no recipes"
    raise RecipeError(f"recipe '{item}' not found", where=where, fix=fix)
