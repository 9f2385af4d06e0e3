"""Options of backends: each option that a backend takes is declared with its type and its range.

Options come from bundles, which strangers make, and from recipes. They reach a library only through `check_options`:
options that a backend does not declare are refused, so no option names a file, a plugin or a device that the backend
does not expect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Protocol, TypeAlias

from edgecompile.errors import InputError, nearest

MOST_THREADS = 1024
"""Threads that a backend may be opened with: more than any device has, fewer than would stall a machine."""
LONGEST_SHOWN = 60
"""Characters of a refused value that a message shows."""

OptionValue: TypeAlias = "bool | int | float | str | Mapping[str, OptionValue] | None"
"""The value of an option: plain JSON, nested where a backend has groups of options."""
Options: TypeAlias = "Mapping[str, OptionValue]"
"""Options that a backend is opened with, as they stand in a manifest."""


class Option(Protocol):
    """The declaration of one option."""

    def faults(self, value: Any) -> Iterator[Fault]:
        """Yields the faults of a value; nothing where it may be used."""


@dataclass(frozen=True)
class Fault:
    """A fault of one option.

    Attributes:
        key: path below the options, such as "DEVICE_PROPERTIES.CPU.NUM_STREAMS"; "" for the value itself.
        message: what was found and expected.
        fix: the nearest valid name, where there is one.
    """

    key: str
    message: str
    fix: str = ""

    def below(self, key: str) -> Fault:
        """Returns the same fault of an option one level down."""
        return Fault(f"{key}.{self.key}" if self.key else key, self.message, self.fix)


@dataclass(frozen=True)
class Switch:
    """true or false."""

    def faults(self, value: Any) -> Iterator[Fault]:
        if type(value) is not bool:
            yield Fault("", f"found {show_value(value)}, expected true or false")


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`.

    Attributes:
        optional: whether null stands for "none".
    """

    low: int
    high: int
    optional: bool = False

    def faults(self, value: Any) -> Iterator[Fault]:
        if value is None and self.optional:
            return
        if type(value) is not int or not self.low <= value <= self.high:
            also = " or null" if self.optional else ""
            yield Fault("", f"found {show_value(value)}, expected a whole number from {self.low} to {self.high}{also}")


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    values: tuple[str, ...]

    def faults(self, value: Any) -> Iterator[Fault]:
        if type(value) is not str or value not in self.values:
            yield Fault("", f"found {show_value(value)}, expected one of {', '.join(self.values)}")


@dataclass(frozen=True)
class Matching:
    """A word of a grammar.

    Attributes:
        pattern: regular expression of the whole word.
        form: the grammar in words, for the message.
        longest: characters.
    """

    pattern: str
    form: str
    longest: int = 80

    def faults(self, value: Any) -> Iterator[Fault]:
        if type(value) is not str or len(value) > self.longest or not re.fullmatch(self.pattern, value):
            yield Fault("", f"found {show_value(value)}, expected {self.form}")


@dataclass(frozen=True)
class Group:
    """Options by name, such as those of each device.

    Attributes:
        names: the declaration of a name.
        options: the declarations of the options under each name.
    """

    names: Matching
    options: Mapping[str, Option] = field(default_factory=dict)

    def faults(self, value: Any) -> Iterator[Fault]:
        if not isinstance(value, Mapping):
            yield Fault("", f"found {show_value(value)}, expected a mapping")
            return
        for name, inner in value.items():
            unnamed = list(self.names.faults(name))
            yield from unnamed
            if not unnamed:
                yield from (fault.below(name) for fault in check_options(self.options, inner))


def check_options(declared: Mapping[str, Option], options: Any) -> Iterator[Fault]:
    """Yields the faults of options: names that are not declared, values of another type or out of range.

    Args:
        declared: option by name, as a backend declares them.
        options: plain JSON values.
    """
    if not isinstance(options, Mapping):
        yield Fault("", f"found {show_value(options)}, expected a mapping of options")
        return
    for name, value in options.items():
        if name in declared:
            yield from (fault.below(name) for fault in declared[name].faults(value))
        else:
            fix = nearest(str(name)[:LONGEST_SHOWN], declared) or "it takes none"
            yield Fault("", f"has no option {show_value(name)}", fix)


def show_value(value: Any) -> str:
    """Returns a value for a message: plain ASCII on one line, and cut where it is long."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, lists in lists without end
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def thread_count(value: Any) -> int | None:
    """Returns a number of threads; None where none was asked for.

    Raises:
        InputError: a backend may not be opened with it.
    """
    if value is None:
        return None
    if not isinstance(value, Integral) or isinstance(value, bool) or not 1 <= int(value) <= MOST_THREADS:
        raise InputError(f"threads is {value!r}, expected a whole number from 1 to {MOST_THREADS}")
    return int(value)
