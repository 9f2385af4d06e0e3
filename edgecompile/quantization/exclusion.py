"""Which nodes stay in float: the decode part of the head, found by structure, and what a person names by pattern."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence

from edgecompile.errors import Problem, StepError, nearest

AUTO = "auto"
"""Stands for the decode part, alone or among patterns."""
SCOPE = "/"


def excluded(exclude: str | Sequence[str], names: Iterable[str], decode: Callable[[], Iterable[str]]) -> list[str]:
    """Returns the names of the nodes to leave in float, sorted.

    Args:
        exclude: "auto", or a list of patterns, among which "auto" may stand; an empty list leaves out nothing. A
            pattern is a glob (`/model.10/*`) or a regular expression (`/model\\.(10|13)/.*`) of a whole node name.
        names: of all nodes.
        decode: gives the names of the nodes of the decode part.

    Raises:
        StepError: for every pattern that matches no node, with the nearest names.
    """
    names = sorted(set(names))
    left_out: set[str] = set()
    problems = []
    for pattern in [exclude] if isinstance(exclude, str) else exclude:
        matches = set(decode()) if pattern == AUTO else _matches(pattern, names)
        if not matches and pattern != AUTO:
            problems.append(Problem(f"exclude: '{pattern}' matches no node of the graph", fix=nearest(pattern, names)))
        left_out |= matches
    if problems:
        raise StepError(problems)
    return sorted(left_out)


def kept_in_float(keep: Sequence[str], names: Iterable[str], key: str = "keep_float") -> list[str]:
    """Returns the nodes of the ONNX graph that `keep_float` names, sorted.

    Args:
        keep: names of nodes, scopes of them ("/model.2" for all of that block), or patterns as of `excluded`.
        names: of all nodes.
        key: what a person calls `keep`.

    Raises:
        StepError: for every entry that matches no node, with the nearest names.
    """
    names = sorted(set(names))
    kept: set[str] = set()
    problems = []
    for entry in keep:
        inside = {name for name in names if name == entry or name.startswith(entry.rstrip(SCOPE) + SCOPE)}
        matches = inside or _matches(entry, names)
        if not matches:
            problems.append(Problem(f"{key}: '{entry}' matches no node of the graph", fix=nearest(entry, names)))
        kept |= matches
    if problems:
        raise StepError(problems)
    return sorted(kept)


def _matches(pattern: str, names: list[str]) -> set[str]:
    matches = {name for name in names if fnmatch.fnmatchcase(name, pattern)}
    try:
        expression = re.compile(pattern)
    except re.error:  # a glob such as "*/Conv" is no regular expression
        return matches
    return matches | {name for name in names if expression.fullmatch(name)}
