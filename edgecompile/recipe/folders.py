"""Folders of recipes and config groups: a person's, the shipped folders, third parties'. Uses no Hydra."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from edgecompile.entry_points import entry_points
from edgecompile.errors import PlanError
from edgecompile.places import conf_folder, recipes_folder

SUFFIXES = (".yaml", ".yml")
LOCK_SUFFIX = ".lock.yaml"
"""Suffix of a lock beside a recipe: such a file is never a recipe itself, whatever folder it lies in."""
CONF_ENTRY_POINTS = "edgecompile.conf"
RECIPE_ENTRY_POINTS = "edgecompile.recipes"

own_folders: list[Path] = []
"""Folders of the recipe files on the command line; set before Hydra starts, and then part of its search path."""


def recipe_folders() -> list[tuple[str, Path]]:
    """Returns who provides recipes and where they lie, the first to look in first, each folder once."""
    folders = [("own", folder) for folder in own_folders]
    folders += [("here", Path.cwd() / "recipes"), ("edgecompile", recipes_folder())]
    folders += [("third party", folder) for folder in installed(RECIPE_ENTRY_POINTS)]
    known: dict[Path, tuple[str, Path]] = {}
    for provider, folder in folders:
        if folder.is_dir():
            known.setdefault(folder.resolve(), (provider, folder))
    return list(known.values())


def recipes() -> dict[str, tuple[str, Path]]:
    """Returns the provider and the file of each recipe that can be chosen here, by name, sorted."""
    files: dict[str, tuple[str, Path]] = {}
    for provider, folder in recipe_folders():
        for path in sorted(folder.iterdir()):
            if is_recipe(path):
                files.setdefault(path.stem, (provider, path))
    return dict(sorted(files.items()))


def is_recipe(path: Path) -> bool:
    """Returns whether a file in a folder of recipes is a recipe, going by its name."""
    return path.suffix in SUFFIXES and not path.name.startswith(".") and not path.name.endswith(LOCK_SUFFIX)


def belongs_to_a_package(file: Path) -> bool:
    """Returns whether a recipe was installed: its folder is not a person's to write to."""
    return file.parent.resolve() in {folder.resolve() for folder in (recipes_folder(), *installed(RECIPE_ENTRY_POINTS))}


def recipe_names() -> list[str]:
    """Returns the names of all recipes that can be chosen here, sorted."""
    return list(recipes())


def conf_folders() -> list[Path]:
    """Returns the folders of config groups that were installed: the shipped folder, then third parties'."""
    return [conf_folder(), *installed(CONF_ENTRY_POINTS)]


def options(group: str) -> Iterator[tuple[str, Path]]:
    """Yields the name and the file of each option of a config group, the first of a name only, sorted."""
    files: dict[str, Path] = {}
    for folder in conf_folders():
        for path in (folder / group).glob("*.yaml"):
            files.setdefault(path.stem, path)
    yield from sorted(files.items())


@cache
def installed(group: str) -> tuple[Path, ...]:
    """Returns the folders of the packages that an entry point group names.

    Raises:
        PlanError: an entry point names a package that is not installed.
    """
    folders = []
    for point in entry_points(group):
        try:
            spec = importlib.util.find_spec(point.value)
        except ImportError:
            spec = None
        if spec is None or not spec.submodule_search_locations:
            raise PlanError(f"entry point '{point.name}' of '{group}' names no package: {point.value}")
        folders.append(Path(next(iter(spec.submodule_search_locations))))
    return tuple(folders)
