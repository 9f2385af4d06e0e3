"""Version ranges such as ">=1.19,<2", without the `packaging` library, which a device need not have."""

from __future__ import annotations

import operator
import re

NEEDS = ("numpy>=1.26", "opencv-python-headless>=4.8")
"""Packages that the runtime needs besides a backend; the dependencies in pyproject.toml."""
_COMPARE = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_CLAUSE = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(\d+(?:\.\d+)*)\s*", re.ASCII)


def satisfies(version: str, versions: str) -> bool:
    """Says whether the release numbers of `version` lie in the range: every clause must hold. "" holds always.

    Raises:
        ValueError: the range has an unknown form.
    """
    release, holds = _numbers(version), True
    for clause in filter(None, (part.strip() for part in versions.split(","))):
        match = _CLAUSE.fullmatch(clause)
        if not match:
            raise ValueError(f"'{clause}' is not a version range")
        holds = _COMPARE[match[1]](release, _numbers(match[2])) and holds
    return holds


def _numbers(version: str) -> tuple[int, ...]:
    """Returns the leading release numbers, without zeros at the end, so that 2.0 equals 2."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in leading[0].split(".")] if leading else [0]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def split_requirement(text: str) -> tuple[str, str]:
    """Returns the distribution and the version range of a requirement such as "numpy>=1.26"."""
    name = re.split(r"[<>=!~ ]", text, maxsplit=1)[0]
    return name, text[len(name) :]
