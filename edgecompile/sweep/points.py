"""The points of a sweep: what each point asks for, or why that cannot be built."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from edgecompile.errors import Problem
from edgecompile.recipe.schema import Recipe


@dataclass(frozen=True)
class Point:
    """One point of a sweep.

    Attributes:
        number: of the job that would build it.
        overrides: as Hydra gives them to that job.
        recipe: None where `problems` say why there is none.
        alike: equal for points that differ in nothing that a plan depends on, but in gates, name or description.
        files: equal for points that name the same weights and the same data.
    """

    number: int
    overrides: tuple[str, ...]
    recipe: Recipe | None
    problems: tuple[Problem, ...]
    alike: Hashable = None
    files: Hashable = None


class Points(Protocol):
    """All points of a sweep, in the order of its jobs.

    Attributes:
        notes: remarks for the person, each once; complete when all points were gone through.
    """

    @property
    def notes(self) -> Mapping[str, None]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Point]: ...
