"""Versions of the distributions that steps use, found without importing any; and what to install for those missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib import metadata

from edgecompile.errors import MissingToolError, Problem
from edgecompile.plan.step import Step

ALIKE = (
    ("ultralytics", "ultralytics-opencv-headless"),
    ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
)
"""Distributions that install the same module: any of a row serves where a step asks for another of it."""

ALONE = ("pnnx",)
"""Distributions that are installed without what they say they need, and so stand in no extra: the program in pnnx's
package needs no torch, which its package would drag along."""

_REQUIREMENT = re.compile(r"""^\s*([A-Za-z0-9._-]+)[^;]*(?:;.*\bextra\s*==\s*['"]([^'"]+)['"])?""")


def version_of(distribution: str) -> str | None:
    """Returns the installed version of a distribution, or of another with the same module; None where none is."""
    return next((version for name in _candidates(distribution) if (version := _installed(name))), None)


def missing_tools(steps: Iterable[Step]) -> list[Problem]:
    """Returns one problem for each tool that a step needs and that is not installed, sorted by tool."""
    users: dict[str, str] = {}
    for step in steps:
        for tool in step.tools:
            if version_of(tool) is None:
                users.setdefault(tool, step.name)
    return [
        Problem(f"step '{name}' needs {tool}, which is not installed", fix=install_command(tool))
        for tool, name in sorted(users.items())
    ]


def require_tools(steps: Iterable[Step]) -> None:
    """Raises:
    MissingToolError: naming every tool that is missing and the command that installs it.
    """
    if problems := missing_tools(steps):
        raise MissingToolError(problems)


def install_command(distribution: str) -> str:
    """Returns the command that installs a distribution: by the extra of edgecompile that brings it, else by itself."""
    if _normal(distribution) in ALONE:
        return f"pip install --no-deps {distribution}"
    extra = _extra_for(distribution)
    return f"pip install 'edgecompile[{extra}]'" if extra else f"pip install {distribution}"


def _extra_for(distribution: str) -> str | None:
    """Returns the smallest extra of edgecompile that brings a distribution, read from its own metadata."""
    try:
        requirements = metadata.requires("edgecompile") or []
    except metadata.PackageNotFoundError:
        return None  # run from a source tree that was never installed
    names = {_normal(name) for name in _candidates(distribution)}
    sizes: Counter[str] = Counter()
    brings: set[str] = set()
    for name, extra in (match.groups() for line in requirements if (match := _REQUIREMENT.match(line))):
        if extra:
            sizes[extra] += 1
            if _normal(name) in names:
                brings.add(extra)
    return min(brings, key=lambda extra: (sizes[extra], extra), default=None)


@cache
def _candidates(distribution: str) -> tuple[str, ...]:
    """Returns a distribution, then those that install the same module."""
    row = next((row for row in ALIKE if _normal(distribution) in row), ())
    return (distribution, *(name for name in row if name != _normal(distribution)))


def _normal(name: str) -> str:
    """Returns a distribution's name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
