"""The errors a person may meet, each with the exit code of its kind. Standard library only: the runtime uses them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from edgecompile.text import escape, without_passwords


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in one line: where it is, what was found and expected, and the fix.

    `where` is `file:line:key` where all three are known, else the parts that are.
    """

    message: str
    where: str = ""
    fix: str = ""

    def __str__(self) -> str:
        line = f"{self.where}: {self.message}" if self.where else self.message
        line = f"{line}; {self.fix}" if self.fix else line
        return escape(without_passwords(" ".join(line.split())))


class EdgecompileError(Exception):
    """Root of the tree. Carries one or more problems, each printed as one line."""

    exit_code = 1
    kind = "error"

    def __init__(self, message: str | Problem | Iterable[Problem], *, where: str = "", fix: str = "") -> None:
        if isinstance(message, str):
            message = Problem(message, where, fix)
        self.problems: tuple[Problem, ...] = (message,) if isinstance(message, Problem) else tuple(message)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RecipeError(EdgecompileError):
    """The recipe, the command line, or what they name (weights, data, pictures) is wrong."""

    exit_code = 2
    kind = "recipe"


class InputError(RecipeError):
    """What the runtime was given is wrong: a picture, a source of pictures, a setting, a path. It is a `RecipeError` as
    well, which earlier versions raised in its place."""

    kind = "input"


class PlanError(EdgecompileError):
    """The recipe is well formed but no plan follows from it (an order that cannot work, a name clash)."""

    exit_code = 3
    kind = "plan"


class MissingToolError(EdgecompileError):
    """A package or program that a step needs is not installed."""

    exit_code = 4
    kind = "missing tool"


class StepError(EdgecompileError):
    """A step, or the store it writes to, failed."""

    exit_code = 5
    kind = "step failed"


class GateError(EdgecompileError):
    """A measured figure does not meet its gate."""

    exit_code = 6
    kind = "gate unmet"


class BundleError(EdgecompileError):
    """A bundle is truncated or altered, or this runtime cannot open it."""

    exit_code = 7
    kind = "bundle invalid"

    def located(self, path: Path) -> BundleError:
        """Returns the same error, which names the file of the bundle where it names no place."""
        return BundleError(replace(problem, where=problem.where or str(path)) for problem in self.problems)


KINDS = (InputError, RecipeError, PlanError, MissingToolError, StepError, GateError, BundleError)
"""All kinds of errors. A process that ends with an error, here or on a device, names the kind to its parent."""


def kind_name(error: EdgecompileError) -> str:
    """Returns the name of the nearest of `KINDS`, which another process knows too: a package may derive kinds."""
    return next((kind.__name__ for kind in type(error).__mro__ if kind in KINDS), StepError.__name__)


MOST_NAMES = 60
"""Valid names that one line lists: all recipes fit, the nodes of a graph do not."""


def nearest_few(name: str, valid: Iterable[str], count: int = 5) -> str:
    """Returns "nearest: a, b, c": the valid names most like `name`, by common parts (`jetson`, `int8`) and letters."""
    parts = set(re.split(r"[-_. ]+", name.lower()))

    def likeness(other: str) -> tuple[float, str]:
        common = sum(any(part in own or own in part for own in re.split(r"[-_. ]+", other)) for part in parts if part)
        return -(common + difflib.SequenceMatcher(None, name.lower(), other).ratio()), other

    return f"nearest: {', '.join(sorted({str(one) for one in valid}, key=likeness)[:count])}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" for the valid name nearest to `name`, or the valid names where none is near."""
    names = sorted({str(candidate) for candidate in valid})
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"valid: {', '.join(names[:MOST_NAMES])}{more}" if names else ""
