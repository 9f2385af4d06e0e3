"""What installed packages add to edgecompile. One look through all of them: that takes 10 ms for a hundred packages."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from edgecompile.errors import PlanError

if TYPE_CHECKING:
    from importlib import metadata


def entry_points(group: str) -> metadata.EntryPoints:
    """Returns the entry points of a group."""
    return _all().select(group=group)


def named_point(group: str, name: str) -> metadata.EntryPoint | None:
    """Returns the entry point of a name in a group; None where there is none.

    Raises:
        PlanError: two packages bring one of that name.
    """
    points = [point for point in entry_points(group) if point.name == name]
    if len(points) > 1:
        first, second, *_ = (point.value for point in points)
        message = f"two entry points of '{group}' are named '{name}': {first} and {second}"
        raise PlanError(message, fix="uninstall one of the packages")
    return points[0] if points else None


@cache
def _all() -> metadata.EntryPoints:
    from importlib import metadata  # takes 20 ms to import, which a prediction does not need

    return metadata.entry_points()  # type: ignore[return-value,unused-ignore]  # of Python 3.10 too
