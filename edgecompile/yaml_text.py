"""YAML text that people hand in: read within a bound, refused where it is not plain data, looked up by line.

YAML trusts its input: 293 bytes of aliases cost minutes. A stream of parse events costs the same whatever the text
says, so all checks look there, and all problems are reported at once, each with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from edgecompile.errors import Problem, RecipeError
from edgecompile.places import shown

LARGEST = 64 << 10
"""Bytes of a recipe; the shipped recipes have about a thousand."""
DEEPEST = 16
MOST_PROBLEMS = 50

LONG_NUMBER = re.compile(r"[-+]?(0[xX][0-9a-fA-F_]{16,}|0b[01_]{64,}|[0-9][0-9_]{19,}|[0-9][0-9_:.]{40,})")
"""Plain scalars that YAML reads as numbers of any length: beyond some thousand digits Python writes none of them."""

Loader = yaml.SafeLoader
"""The parser that OmegaConf uses: libyaml's is quicker, but accepts text on which this parser then fails."""

Finding = tuple[int, str, str, str]
"""line, key path, message, fix."""


@dataclass
class _Frame:
    """A mapping or a list that the walk is inside of."""

    mapping: bool
    path: tuple[str, ...]
    seen: dict[str, int] = field(default_factory=dict)
    key: str | None = None
    count: int = 0

    def next_path(self) -> tuple[str, ...]:
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


def check_yaml(text: str, file: Path, rules: Rules) -> None:
    """Refuses YAML that breaks `rules`.

    Raises:
        RecipeError: with a problem for each thing that is wrong, or the syntax error that makes it no YAML.
    """
    problems: list[Problem] = []
    try:
        for line, key, message, fix in rules.walk(yaml.parse(text, Loader=Loader)):
            where = f"{shown(file)}:{line}:{key}" if key else f"{shown(file)}:{line}"
            problems.append(Problem(message, where, fix))
            if len(problems) == MOST_PROBLEMS:
                break
    except yaml.YAMLError as error:
        problems.append(_syntax(error, text, file))
    if problems:
        raise RecipeError(problems)


def check_data(text: str, file: Path) -> None:
    """Refuses YAML that is not plain data: anchors, aliases, tags, keys that stand twice."""
    check_yaml(text, file, Rules())


def _syntax(error: yaml.YAMLError, text: str, file: Path) -> Problem:
    """Returns the problem that names where YAML could not be read, and the likely reason."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if isinstance(error, yaml.reader.ReaderError):  # a character that no YAML may hold
        line = text.count("\n", 0, error.position) + 1
        return Problem(f"not YAML: character U+{ord(text[error.position]):04X}", f"{shown(file)}:{line}", "remove it")
    message = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
    tab = "\\t" in str(message) or " tab " in str(message) or "cannot start any token" in str(message)
    fix = "indent with spaces, not tabs" if tab else "quote text that holds ': ', '#', '{' or '['"
    return Problem(f"not YAML: {message}", f"{shown(file)}:{mark.line + 1}" if mark else shown(file), fix)


class Rules:
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
                path = frame.next_path() if frame else ()
                yield from self.value(event, line, path) if frame else self.no_mapping(line)
                if frame:
                    frame.done()
            elif kind is yaml.AliasEvent:
                return
            else:
                if frame is None and kind is not yaml.MappingStartEvent:
                    yield from self.no_mapping(line)
                elif frame is not None:
                    yield from self.container(line, frame.next_path(), mapping=kind is yaml.MappingStartEvent)
                if frame is not None and len(stack) == DEEPEST:
                    yield line, ".".join(frame.path), f"nested deeper than {DEEPEST} levels", ""
                    return
                stack.append(_Frame(kind is yaml.MappingStartEvent, frame.next_path() if frame else ()))

    def _marks(self, event: Any, line: int, frame: _Frame | None) -> Iterator[Finding]:
        """Yields on anchors, aliases and tags."""
        awaited = frame is not None and (not frame.mapping or frame.key is not None)
        key = ".".join(frame.next_path() if awaited else frame.path) if frame else ""
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            yield line, key, f"anchors and aliases ('{event.anchor}') are refused", "write the value out"
        elif getattr(event, "tag", None) not in (None, "!"):
            yield line, key, f"tags ('{event.tag}') are refused", "write the plain value"

    def _key(self, event: Any, line: int, frame: _Frame) -> Iterator[Finding]:
        """Notes the key of a mapping's next value."""
        frame.key = event.value
        path = (*frame.path, event.value)
        if event.value in frame.seen:
            yield line, ".".join(path), f"stands twice (first in line {frame.seen[event.value]})", "keep one"
        elif event.value == "<<" and is_plain(event):
            yield line, ".".join(path), "merge keys ('<<') are refused", "write the keys out"
        frame.seen.setdefault(event.value, line)
        yield from self.key(event, line, path)

    def no_mapping(self, line: int) -> Iterator[Finding]:
        """Yields that the text holds no mapping."""
        yield line, "", "holds no keys; expected lines such as 'key: value'", ""

    def key(self, event: Any, line: int, path: tuple[str, ...]) -> Iterator[Finding]:
        """Yields what is wrong with a key."""
        yield from ()

    def container(self, line: int, path: tuple[str, ...], *, mapping: bool) -> Iterator[Finding]:
        """Yields what is wrong with a mapping or a list that is a value."""
        yield from ()

    def value(self, event: Any, line: int, path: tuple[str, ...]) -> Iterator[Finding]:
        """Yields what is wrong with a scalar."""
        if is_long_number(event):
            yield line, ".".join(path), f"a number of {len(event.value)} digits", "write it in quotes if text is meant"


def is_long_number(event: Any) -> bool:
    """Returns whether a scalar is a number longer than any that is meant."""
    return is_plain(event) and LONG_NUMBER.fullmatch(event.value) is not None


def is_plain(event: Any) -> bool:
    """Returns whether a scalar stands without quotes."""
    return not event.style


def line_of(file: Path, keys: Sequence[str]) -> int:
    """Returns the line (from 1) on which `file` sets the key path, or 0 where it does not."""
    node, line = tree_of(file), 0
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            entry = next(((k, v) for k, v in reversed(node.value) if k.value == key), None)
            if entry is None:
                return 0
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
        else:
            return 0
    return line


def keys_at(file: Path, keys: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yields the keys of the mapping at a key path of `file`, each with its line (from 1)."""
    node = tree_of(file)
    for key in keys:
        entries = node.value if isinstance(node, yaml.MappingNode) else ()
        node = next((value for name, value in reversed(entries) if name.value == key), None)
    for name, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        yield name.value, name.start_mark.line + 1


def tree_of(file: Path) -> yaml.Node | None:
    """Returns the nodes of a file that the guard accepted; None where it is empty or was removed since."""
    try:
        return _parsed(file, file.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _parsed(file: Path, _changed: int) -> yaml.Node | None:
    try:
        return yaml.compose(file.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return None
