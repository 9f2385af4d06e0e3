"""What installed packages add to edgecompile. One look through all of them: that takes 10 ms for a hundred packages."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib import metadata


def entry_points(group: str) -> metadata.EntryPoints:
    """Returns the entry points of a group."""
    return _all().select(group=group)


@cache
def _all() -> metadata.EntryPoints:
    from importlib import metadata  # takes 20 ms to import, which a prediction does not need

    return metadata.entry_points()  # type: ignore[return-value,unused-ignore]  # of Python 3.10 too
