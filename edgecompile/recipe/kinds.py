"""Finds the classes of passes and targets. The file name is the registry; entry points add third parties'.

Nothing is imported to learn which kinds there are, and only the module of a kind to get its class.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import edgecompile.passes
import edgecompile.targets
from edgecompile.entry_points import entry_points
from edgecompile.errors import PlanError
from edgecompile.passes import Pass
from edgecompile.targets import Target


def pass_kinds() -> tuple[str, ...]:
    """Returns the names of all passes, sorted."""
    return tuple(sorted(_known(edgecompile.passes)))


def target_kinds() -> tuple[str, ...]:
    """Returns the names of all kinds of targets, sorted."""
    return tuple(sorted(_known(edgecompile.targets)))


@cache
def pass_class(kind: str) -> type[Pass]:
    """Returns the class of a pass that `pass_kinds` names."""
    return _load(edgecompile.passes, kind, Pass)


@cache
def target_class(kind: str) -> type[Target]:
    """Returns the class of a kind of target that `target_kinds` names."""
    return _load(edgecompile.targets, kind, Target)


def kind_of(pass_: Pass) -> str:
    """Returns the kind of a pass."""
    return next(kind for kind in pass_kinds() if pass_class(kind) is type(pass_))


@cache
def _known(room: ModuleType) -> dict[str, EntryPoint | None]:
    """Returns each kind with its entry point, or None where it is a file of this package.

    Raises:
        PlanError: two installed kinds have the same name.
    """
    folder = Path(room.__file__ or "").parent
    known: dict[str, EntryPoint | None] = {file.stem: None for file in folder.glob("[!_]*.py")}
    for point in entry_points(room.ENTRY_POINTS):
        if point.name in known:
            earlier = known[point.name]
            first = earlier.value if earlier else f"{room.__name__}.{point.name}"
            raise PlanError(
                f"two kinds in '{room.ENTRY_POINTS}' are named '{point.name}': {first} and {point.value}",
                fix="uninstall one of the packages",
            )
        known[point.name] = point
    return known


def _load(room: ModuleType, kind: str, base: type) -> type:
    """Returns the class of a kind: what its entry point names, or the only subclass that its module holds."""
    point = _known(room)[kind]
    try:
        loaded = point.load() if point else importlib.import_module(f"{room.__name__}.{kind}")
    except Exception as error:
        if point is None:
            raise
        raise PlanError(f"'{kind}' ({point.value}) cannot be imported: {type(error).__name__}: {error}") from error
    if isinstance(loaded, type) and issubclass(loaded, base):
        return loaded
    classes = [
        item
        for item in vars(loaded).values()
        if isinstance(item, type) and issubclass(item, base) and item.__module__ == getattr(loaded, "__name__", "")
    ]
    if len(classes) != 1:
        raise PlanError(f"the module of '{kind}' holds {len(classes)} subclasses of {base.__name__}; expected one")
    return classes[0]
