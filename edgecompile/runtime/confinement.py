"""Limits of time and memory for the model of a bundle, and the operation that its process reports.

A model is a program: a loop in it may have no end, a tensor any size. The verbs of the device therefore run it in a
process of its own (`supervisor`, `worker`), which reports by `doing` what it is about to do; that restarts the clock.
In any other process `doing` does nothing: a program that loads a bundle itself verifies it first.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecompile.errors import InputError
from edgecompile.runtime import machine

if TYPE_CHECKING:
    import argparse

TIMEOUT, MEMORY = "EDGECOMPILE_MODEL_TIMEOUT", "EDGECOMPILE_MODEL_MEMORY"
"""Environment variables that replace the defaults; the flags --timeout and --memory replace them."""
NONE = "none"
"""The word that stands for no limit in both."""
OPENING, RUNNING, BUILDING = "opening the model", "running the model", "building the model"
READING = "reading the source"
"""An operation whose time is not the model's: a camera or a pipe may be silent for as long as it likes."""
"""Operations whose time is limited, each by itself."""
RUN_S, BUILD_S = 120.0, 3600.0
"""Seconds that an operation may take, and the building of a model by its device's tools."""
MEMORY_SHARE, LIBRARIES_MB = 0.75, 500
"""Share of the machine's memory that a model may allocate, beside what libraries and their threads allocate."""
NO_MEMORY = re.compile(
    r"MemoryError|bad_alloc|bad allocation|(can't|[Cc]annot|[Ff]ailed to|Unable to) allocate|[Oo]ut of memory"
    r"|failed to map segment|[Aa]llocation (still )?failed"
)
"""Messages of Python, C++ and the libraries when an allocation fails."""
UNITS_MB = {"M": 1, "G": 1000, "T": 1000**2}
OFTEN_S = 1.0
"""After this time a process that still does the same reports it again."""


@dataclass(frozen=True)
class Limits:
    """Limits of a model: infinity where it has no limit.

    Attributes:
        run_s: seconds of one operation: opening it, one run.
        build_s: seconds of its building.
        memory_mb: that its process may allocate.
    """

    run_s: float
    build_s: float
    memory_mb: float

    def seconds(self, operation: str) -> float:
        """Returns how long an operation may take."""
        return {BUILDING: self.build_s, READING: math.inf}.get(operation, self.run_s)

    def too_slow(self, operation: str) -> tuple[str, str]:
        """Returns the message for an operation that took longer, and the fix."""
        seconds = self.seconds(operation)
        fix = f"allow it more: --timeout {math.ceil(2 * seconds)}, or {TIMEOUT}"
        return f"{operation} was ended after {seconds:g} s, its limit", fix

    def too_large(self) -> tuple[str, str]:
        """Returns the message for a process that could not allocate memory, and the fix."""
        if math.isinf(self.memory_mb):
            return "the model runs out of the machine's memory", ""
        fix = f"allow it more: --memory {math.ceil(2 * self.memory_mb / 1000)}G, or {MEMORY}"
        return f"the model runs out of memory: its limit is {self.memory_mb / 1000:.2g} GB", fix


def choose_limits(timeout: str | None, memory: str | None) -> Limits:
    """Returns the limits that the command line sets, else the environment, else limits that suit this machine.

    Args:
        timeout, memory: texts of the command line.

    Raises:
        InputError: a text is no limit.
    """
    seconds = _chosen(timeout, "--timeout", TIMEOUT, seconds_of)
    memory_mb = _chosen(memory, "--memory", MEMORY, megabytes_of)
    return Limits(
        RUN_S if seconds is None else seconds,
        BUILD_S if seconds is None else seconds,
        MEMORY_SHARE * machine.memory_mb() + LIBRARIES_MB if memory_mb is None else memory_mb,
    )


def limit_words(timeout: str | None, memory: str | None) -> tuple[str, ...]:
    """Returns the words by which another machine gets the limits that the command line or the environment sets here.

    Raises:
        InputError: a text is no limit.
    """
    choose_limits(timeout, memory)
    chosen = {
        "--timeout": os.environ.get(TIMEOUT) if timeout is None else timeout,
        "--memory": os.environ.get(MEMORY) if memory is None else memory,
    }
    return tuple(word for flag, text in chosen.items() if text is not None for word in (flag, text))


def seconds_of(text: str) -> float:
    """Returns the seconds that a text such as "600" names, infinity for "none".

    Raises:
        ValueError: it names none.
    """
    if text == NONE:
        return math.inf
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text) or float(text) <= 0:
        raise ValueError(f"expected seconds, such as 600, or {NONE}")
    return float(text)


def megabytes_of(text: str) -> float:
    """Returns the megabytes that a size such as "8G" names, infinity for "none".

    Raises:
        ValueError: it names none.
    """
    if text == NONE:
        return math.inf
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)\s*([MGT])B?", text, re.IGNORECASE)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"expected a size, such as 8G or 500M, or {NONE}")
    return float(match[1]) * UNITS_MB[match[2].upper()]


def read_limit(environment: Mapping[str, str], name: str, read: Callable[[str], float]) -> float | None:
    """Returns the limit that a variable holds; None where it is not set.

    Raises:
        InputError: the variable holds no limit.
    """
    value = environment.get(name)
    if value is None:
        return None
    try:
        return read(value)
    except ValueError as error:
        raise InputError(f"found {value!r}", where=name, fix=str(error)) from error


def add_flags(parser: argparse.ArgumentParser, *, building: bool) -> None:
    """Adds --timeout and --memory to a command line.

    Args:
        building: whether the help names the limit for building too.
    """
    default = f"{RUN_S:g}; {BUILD_S:g} for building it" if building else f"{RUN_S:g}"
    seconds = f"longest that opening the model, or one run of it, may take, or none (default: {default})"
    parser.add_argument("--timeout", metavar="SECONDS", help=seconds)
    size = "most memory that the model may allocate, such as 8G, or none (default: 3/4 of the machine's)"
    parser.add_argument("--memory", metavar="SIZE", help=size)


def _chosen(text: str | None, flag: str, variable: str, read: Callable[[str], float]) -> float | None:
    if text is not None:
        where = f"command line:{flag}"
        return read_limit({where: text}, where, read)
    return read_limit(os.environ, variable, read)


class Confined:
    """This process, where it runs a model under limits."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._operation, self._reported_at = "", 0.0

    def doing(self, operation: str) -> None:
        now = time.monotonic()
        if operation != self._operation or now - self._reported_at > OFTEN_S:
            self._operation, self._reported_at = operation, now
            self._report(operation)


_this_process: Confined | None = None


def confine(report: Callable[[str], None]) -> None:
    """Marks this process as running a model under limits.

    Args:
        report: called with what the process is about to do.
    """
    global _this_process
    _this_process = Confined(report)


def doing(operation: str) -> None:
    """Reports what this process is about to do ("running the model"); the clock of the time limit restarts."""
    if _this_process is not None:
        _this_process.doing(operation)
