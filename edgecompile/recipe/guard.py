"""Reads the text of a recipe before anything is built from it, and refuses what could harm or mislead.

YAML and OmegaConf trust their input: 293 bytes of aliases cost minutes, `_target_` names code to call, `${oc.env:X}`
reads the environment, `012` is 10 and `1:30` is 90. A stream of parse events costs the same whatever the text says, so
everything is looked for there, and everything found is reported at once, each with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edgecompile.errors import Problem, RecipeError
from edgecompile.recipe.places import shown

LARGEST = 64 << 10
"""Bytes of a recipe; the shipped ones have about a thousand."""
DEEPEST = 16
MOST_INTERPOLATIONS = 8
"""Of one file. Chains of `${a}${a}` unfold like aliases do; those of a few interpolations stay small."""
MOST_PROBLEMS = 50

CODE_KEYS = frozenset({"_target_", "_partial_", "_args_", "_recursive_", "_convert_", "()"})
HYDRA_KEYS = (
    "hydra.mode",
    "hydra.sweeper.params",
    "hydra.sweeper.list_params",
    "hydra.sweeper.grid_params",
    "hydra.sweeper.n_trials",
)
HYDRA_GROUPS = ("hydra/launcher", "hydra/sweeper")

_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_CLOCK = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)
_HUGE = re.compile(r"[-+]?[0-9_]{20,}")
_NOT_A_NAME = re.compile(r"(yes|no|on|off|true|false|null|~|[-+.]?[0-9][0-9_.:eExXa-fA-F]*|)", re.IGNORECASE)
_INTERPOLATION = re.compile(r"\$\{\s*([^}]*)")
_RESOLVER = re.compile(r"[\w.]+\s*:")

Loader = yaml.SafeLoader
"""The parser that OmegaConf uses: libyaml's is quicker, but lets through what this one then stumbles over."""


@dataclass
class _Frame:
    """A mapping or a list that the walk is inside of."""

    mapping: bool
    path: tuple[str, ...]
    seen: dict[str, int] = field(default_factory=dict)
    key: str | None = None
    count: int = 0

    def here(self) -> tuple[str, ...]:
        """Returns the key path of the value that comes next."""
        return (*self.path, (self.key or "") if self.mapping else str(self.count))

    def done(self) -> None:
        """Notes that a value has ended."""
        self.key, self.count = None, self.count + 1


def read_text(file: Path, largest: int = LARGEST) -> str:
    """Returns the text of a YAML file of at most `largest` bytes.

    Raises:
        RecipeError: it cannot be read, is too large, or is not UTF-8 text.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(largest + 1)
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror or error}", where=shown(file)) from error
    if len(content) > largest:
        raise RecipeError(f"larger than {largest >> 10} KiB, which no file of this kind is", where=shown(file))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RecipeError("not UTF-8 text", where=f"{shown(file)}:{line}") from error


def check_recipe(text: str, file: Path) -> None:
    """Refuses a recipe that is not plain data.

    Raises:
        RecipeError: with a problem for each anchor, alias, tag, key that names code, key that stands twice, value that
            YAML misreads, interpolation that reads more than the recipe, and Hydra setting that belongs to the person.
    """
    _check(text, file, _RecipeRules(text))


def check_data(text: str, file: Path) -> None:
    """Refuses a data.yaml that is not plain data: anchors, aliases, tags, keys that stand twice."""
    _check(text, file, _Rules())


def _check(text: str, file: Path, rules: _Rules) -> None:
    found: list[Problem] = []
    try:
        for line, key, message, fix in rules.walk(yaml.parse(text, Loader=Loader)):
            where = f"{shown(file)}:{line}:{key}" if key else f"{shown(file)}:{line}"
            found.append(Problem(message, where, fix))
            if len(found) == MOST_PROBLEMS:
                break
    except yaml.YAMLError as error:
        found.append(_syntax(error, text, file))
    if found:
        raise RecipeError(found)


def _syntax(error: yaml.YAMLError, text: str, file: Path) -> Problem:
    """Returns the one line that says where YAML could not be read, and the likely reason."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if isinstance(error, yaml.reader.ReaderError):  # a character that no YAML may hold
        line = text.count("\n", 0, error.position) + 1
        return Problem(f"not YAML: character U+{ord(text[error.position]):04X}", f"{shown(file)}:{line}", "remove it")
    message = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
    tab = "\\t" in str(message) or " tab " in str(message) or "cannot start any token" in str(message)
    fix = "indent with spaces, not tabs" if tab else "quote text that holds ': ', '#', '{' or '['"
    return Problem(f"not YAML: {message}", f"{shown(file)}:{mark.line + 1}" if mark else shown(file), fix)


Finding = tuple[int, str, str, str]
"""line, key path, message, fix."""


class _Rules:
    """What holds for every YAML that a person hands in."""

    def walk(self, events: Iterator[Any]) -> Iterator[Finding]:
        """Yields what is wrong, in the order of the text."""
        stack: list[_Frame] = []
        documents = 0
        for event in events:
            line = event.start_mark.line + 1
            kind = type(event)
            documents += kind is yaml.DocumentStartEvent
            if documents > 1:
                yield line, "", "a second document starts here ('---')", "keep one to a file"
                return
            if kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
                stack.pop()
                if stack:
                    stack[-1].done()
                continue
            if not isinstance(event, yaml.NodeEvent):
                continue
            frame = stack[-1] if stack else None
            yield from self._marks(event, line, frame)
            if frame is not None and frame.mapping and frame.key is None:  # this node is a key
                if kind is not yaml.ScalarEvent:
                    yield line, ".".join(frame.path), "a key must be a plain name", ""
                    return
                yield from self._key(event, line, frame)
            elif kind is yaml.ScalarEvent:
                path = frame.here() if frame else ()
                yield from self.value(event, line, path) if frame else self.no_mapping(line)
                if frame:
                    frame.done()
            elif kind is yaml.AliasEvent:
                return
            else:
                if frame is None and kind is not yaml.MappingStartEvent:
                    yield from self.no_mapping(line)
                if len(stack) == DEEPEST:
                    yield line, ".".join(frame.path), f"nested deeper than {DEEPEST} levels", ""
                    return
                stack.append(_Frame(kind is yaml.MappingStartEvent, frame.here() if frame else ()))

    def _marks(self, event: Any, line: int, frame: _Frame | None) -> Iterator[Finding]:
        """Yields on anchors, aliases and tags."""
        awaited = frame is not None and (not frame.mapping or frame.key is not None)
        key = ".".join(frame.here() if awaited else frame.path) if frame else ""
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            yield line, key, f"anchors and aliases ('{event.anchor}') are refused", "write the value out"
        elif getattr(event, "tag", None) not in (None, "!"):
            yield line, key, f"tags ('{event.tag}') are refused", "write the plain value"

    def _key(self, event: Any, line: int, frame: _Frame) -> Iterator[Finding]:
        """Takes the key of a mapping's next value."""
        frame.key = event.value
        path = ".".join((*frame.path, event.value))
        if event.value in frame.seen:
            yield line, path, f"stands twice (first in line {frame.seen[event.value]})", "keep one"
        frame.seen.setdefault(event.value, line)
        yield from self.key(event, line, path)

    def no_mapping(self, line: int) -> Iterator[Finding]:
        """Yields that the text holds no mapping."""
        yield line, "", "holds no keys; expected lines such as 'key: value'", ""

    def key(self, event: Any, line: int, path: str) -> Iterator[Finding]:
        """Yields what is wrong with a key."""
        yield from ()

    def value(self, event: Any, line: int, path: tuple[str, ...]) -> Iterator[Finding]:
        """Yields what is wrong with a scalar."""
        yield from ()


class _RecipeRules(_Rules):
    """What holds for recipes and config groups of a person besides."""

    def __init__(self, text: str) -> None:
        self.interpolations = 0
        header = re.search(r"^\s*#\s*@package\s+(\S*hydra\S*)", text, re.MULTILINE)
        self.header = header and (text[: header.start()].count("\n") + 1, header.group(1))

    def walk(self, events: Iterator[Any]) -> Iterator[Finding]:
        if self.header:
            yield self.header[0], "", f"the package '{self.header[1]}' is not for recipes to set", ""
        yield from super().walk(events)

    def key(self, event: Any, line: int, path: str) -> Iterator[Finding]:
        name = event.value
        if name in CODE_KEYS:
            yield line, path, f"'{name}' names code to run; a recipe is data", "remove it"
        elif _plain(event) and _NOT_A_NAME.fullmatch(name):
            yield line, path, f"YAML does not read the key '{name}' as text", f'write "{name}" if it is meant'
        elif path.startswith("hydra."):
            if _allowed(path.rpartition(".")[0]) and not _allowed(path):
                fix = f"a recipe may set {', '.join(HYDRA_KEYS)}; give the rest on the command line"
                yield line, path, "is not for a recipe to set", fix
        elif path.startswith("defaults."):
            yield from self._default(line, name)

    def value(self, event: Any, line: int, path: tuple[str, ...]) -> Iterator[Finding]:
        text, key = event.value, ".".join(path)
        if path[0] == "defaults" and len(path) == 1 and text not in ("", "[]"):
            yield line, key, f"'{text}' where a list is expected", f"write [{text}]"
        if path[0] == "defaults" and len(path) == 2:
            yield from self._default(line, text)
        yield from self._interpolations(text, line, key)
        if not _plain(event):
            return
        if _OCTAL.fullmatch(text) and text.strip("+-0_"):
            yield line, key, f"YAML may read {text} as an octal number", f'write {text.lstrip("0_+-")} or "{text}"'
        elif _CLOCK.fullmatch(text):
            yield line, key, f"YAML reads {text} as a number of base 60", f'write "{text}" if text is meant'
        elif _NO_NUMBER.fullmatch(text):
            yield line, key, f"{text} is no number to work with", "leave the key out, or write null"
        elif _HUGE.fullmatch(text):
            yield line, key, f"a number of {len(text)} digits", ""

    def _default(self, line: int, item: str) -> Iterator[Finding]:
        """Yields where an item of the defaults list reaches for what a recipe may not set."""
        words = item.split()
        group, _, package = (words[-1] if words else "").lstrip("/").partition("@")
        if "hydra" in re.split(r"[.:]", package):
            yield line, "defaults", f"'{item}' sets Hydra itself", "give it on the command line"
        if re.match(r"hydra(/|$)", group) and not group.startswith(HYDRA_GROUPS):
            yield line, "defaults", f"'{item}' sets Hydra itself", f"a recipe may choose {' and '.join(HYDRA_GROUPS)}"
        if ".." in group.split("/"):
            yield line, "defaults", f"'{item}' leaves the folder of recipes", "name a recipe that lies in it"

    def _interpolations(self, text: str, line: int, key: str) -> Iterator[Finding]:
        for inside in _INTERPOLATION.findall(text):
            self.interpolations += 1
            if self.interpolations == MOST_INTERPOLATIONS + 1:
                yield line, key, f"more than {MOST_INTERPOLATIONS} interpolations in one file", ""
            if _RESOLVER.match(inside):
                name = inside.split(":")[0].strip()
                yield line, key, f"'${{{name}:…}}' reads more than the recipe", "only ${another.key} is for recipes"


def _allowed(path: str) -> bool:
    """Returns whether a key of Hydra's is one that a recipe may set, lies in one, or leads to one."""
    return any(f"{path}.".startswith(f"{one}.") or one.startswith(f"{path}.") for one in HYDRA_KEYS)


def _plain(event: Any) -> bool:
    """Returns whether a scalar stands without quotes."""
    return not event.style
