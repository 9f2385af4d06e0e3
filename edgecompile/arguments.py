"""The parser of command lines, for every verb. An error is one line; for a wrong flag it names the nearest flag.

Standard library only: devices have it too.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from edgecompile.errors import InputError, RecipeError, nearest

WHERE = "command line"
ELSEWHERE = {
    "--stand-in": "what stands in for a device says nothing of the device's speed, memory or exact numbers; "
    "`edgecompile predict BUNDLE SOURCE --stand-in` shows what the model finds"
}
"""Flags of one verb that people try with others, and why these do not take them."""


class Parser(argparse.ArgumentParser):
    """Parses the words behind a verb; flags may stand anywhere among them.

    Attributes:
        prepare: applied to the words first: for a flag whose value may be left out.
        composes: whether the words compose a recipe, so that Hydra completes them.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        self.prepare: Callable[[Sequence[str]], Sequence[str]] = list
        self.composes = False

    def error(self, message: str) -> NoReturn:
        """Reports a wrong command line as all other errors are reported."""
        raise RecipeError(message, where=WHERE, fix=f"see `{self.prog} --help`")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Returns the arguments.

        Raises:
            RecipeError: a flag that does not exist, a value that is missing or wrong.
        """
        parse = self.parse_known_args if self._subparsers else self.parse_known_intermixed_args
        arguments, unknown = parse(list(self.prepare(words)))
        if not unknown:
            return arguments
        flag = unknown[0].partition("=")[0]
        if not flag.startswith("-"):
            self.error(f"'{flag}' is one word too many")
        if flag in ELSEWHERE:
            raise InputError(f"{self.prog} takes no {flag}: {ELSEWHERE[flag]}", where=WHERE)
        known = [name for name in self._option_string_actions if name.startswith("--")]
        raise RecipeError(f"unknown flag '{flag}'", where=WHERE, fix=nearest(flag, known))


def whole_number(text: str) -> int:
    """Returns a whole number of at least 1."""
    with suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"found '{text}', expected a whole number of at least 1")


def fraction(text: str) -> float:
    """Returns a number in 0..1."""
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"found '{text}', expected a number in 0..1")


def picture_size(text: str) -> tuple[int, int]:
    """Returns height and width of "320" or "320x640", in pixels."""
    height, _, width = text.lower().partition("x")
    try:
        return whole_number(height), whole_number(width or height)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"found '{text}', expected N or HxW, pixels") from None


def uri(text: str) -> str:
    """Returns a URI, for argparse: with a scheme, without spaces."""
    scheme, _, rest = text.partition(":")
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or not re.fullmatch(r"[!-~]+", rest):
        raise argparse.ArgumentTypeError(f"found '{text}', expected a URI, such as https://example.com/builder")
    return text
