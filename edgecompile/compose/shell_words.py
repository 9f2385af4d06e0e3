"""Words as the shell hands them over, made into words of Hydra's grammar: a path is a path, whatever signs it has.

What Hydra would take for a list or a choice, or cannot read, is quoted where the key holds a path or a name;
elsewhere a word that cannot be read is answered in a line, and never with what a parser says.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from edgecompile.compose.command_line import quoted
from edgecompile.errors import Problem, RecipeError

TEXTS = frozenset(
    (
        "model.weights",
        "data.path",
        "name",
        "description",
        "device.host",
        "device.path",
        "device.wheels",
        "device.python",
    )
)
"""Keys that hold a path, or a text of a person."""
PATHS = ("model.weights", "data.path")
PARSER_TALK = re.compile(
    r"mismatched input|no viable alternative|token recognition|extraneous input|missing \S+ at |LexerNoViable|ANTLR"
    r"|expecting [{'<]|rule stack|Error parsing override",
    re.IGNORECASE,
)
"""What parsers made by ANTLR say, which helps nobody."""
LONGEST = 200
"""Characters of a value that are shown."""
UNSET = re.compile(r"\$\{?(?P<name>[A-Za-z_]\w*)\}?|`[^`]*`|\$\(")
"""What a shell would have replaced."""


def as_meant(words: Sequence[str]) -> list[str]:
    """Returns words for Hydra, those that its grammar would misread quoted.

    Raises:
        RecipeError: a word that cannot be read, with how it is quoted.
    """
    problems: list[Problem] = []
    parser = OverridesParser.create()
    meant = [word if word.startswith("--") else _as_meant(word, parser, problems) for word in words]
    if problems:
        raise RecipeError(problems)
    return meant


def _as_meant(word: str, parser: OverridesParser, problems: list[Problem]) -> str:
    key, equals, value = word.partition("=")
    name = key.lstrip("+~")
    is_file = name in PATHS and bool(value) and os.path.lexists(os.path.expanduser(value))
    try:
        override = parser.parse_overrides([word])[0]
        read = None if override.is_sweep_override() else override.value()
        if not is_file or read == value:
            if name in PATHS and not is_file and "${" not in value and (problem := _not_replaced(name, value)):
                problems.append(problem)
            return word
    except (HydraException, RecursionError, ValueError):
        if name not in TEXTS or not equals:
            problems.append(unreadable(word, f"command line:{name or word}"))
            return word
    if not is_file and name in PATHS and (problem := _not_replaced(name, value) or _half_quoted(word, name)):
        problems.append(problem)
        return word
    return f"{key}={quoted(value)}"


def _not_replaced(name: str, value: str) -> Problem | None:
    """Returns the problem of a path in which something stands that the shell was to replace."""
    found = UNSET.search(value)
    if found is None:
        return None
    fix = f'double quotes let the shell replace it: "{name}={value}"'
    return Problem(f"'{found[0]}' was not replaced by the shell", f"command line:{name}", fix)


def _half_quoted(word: str, name: str) -> Problem | None:
    """Returns the problem of a path that begins or ends with a quote that has no partner."""
    value = word.partition("=")[2]
    ends = {value[:1], value[-1:]} & {"'", '"'}
    if ends and not (value[:1] == value[-1:] and len(value) > 1):
        return unreadable(word, f"command line:{name}")
    return None


def unreadable(word: str, where: str) -> Problem:
    """Returns the problem of a word that Hydra's grammar does not read."""
    word = word.lstrip("+")
    key, equals, value = word.partition("=")
    if not equals:
        return Problem(f"'{word}' cannot be read", where, "write key=value, or ~key to leave a key out")
    if not re.fullmatch(r"~?[A-Za-z_][\w./@:-]*", key):
        return Problem(f"'{key}' is no key", where, "write key=value, such as model.imgsz=320")
    if re.fullmatch(r"[+-]?[0-9_]{4000,}", value):
        return Problem("a number of too many digits", where)
    value, given = f"{value[:LONGEST]}…" if len(value) > LONGEST else value, value
    for mark in ("'", '"'):
        if given.count(mark) % 2:
            return Problem(f"the quote {mark} in {value} has no end", where, _fix(key, value))
    for opened, closed in ("[]", "{}", "()"):
        if given.count(opened) != given.count(closed):
            odd = opened if given.count(opened) > given.count(closed) else closed
            return Problem(f"'{odd}' in {value} has no partner", where, _fix(key, value))
    return Problem(f"the value {value} cannot be read", where, _fix(key, value))


def _fix(key: str, value: str) -> str:
    """Returns how a value is quoted: for the shell outside, for the recipe inside."""
    return f"as a text, it is quoted twice: {shlex.quote(key + '=' + chr(34) + value.replace(chr(34), '') + chr(34))}"
