"""Overrides of values, applied to plain data as Hydra applies them to its config, where that is simple enough to equal.

Hydra composes a config in 50 ms; most of the many points of a sweep differ in a few values only. What is not plain (an
interpolation, an index of a list, a key that is not there) is left to Hydra itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType

from edgecompile.json_types import JsonObject
from edgecompile.recipe.validate import MISSING

NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(?P<fraction>\.[0-9]{1,17})?")
"""Numbers as `range()` writes them. Hydra's grammar reads them as Python does, a hundred times slower."""
PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*", re.ASCII)


class NotPlain(Exception):
    """An override that only Hydra itself can apply, or refuse."""


@dataclass(frozen=True)
class Change:
    """An override of a value: what `override` does (replace, add, delete), the key path, the value."""

    type: OverrideType
    keys: tuple[str, ...]
    value: Any


class Reader:
    """Reads overrides, each text once."""

    def __init__(self) -> None:
        self._parser = OverridesParser.create()
        self._overrides: dict[str, Override] = {}
        self._changes: dict[str, Change | None] = {}

    def override(self, text: str) -> Override:
        """Returns an override as Hydra's parser reads it.

        Raises:
            OverrideParseException: the text is no override.
        """
        if text not in self._overrides:
            self._overrides[text] = self._parser.parse_overrides([text])[0]
        return self._overrides[text]

    def change(self, text: str) -> Change:
        """Returns an override of a value as a change of plain data.

        Raises:
            NotPlain: only Hydra can apply it.
        """
        if text not in self._changes:
            self._changes[text] = self._read(text)
        change = self._changes[text]
        if change is None:
            raise NotPlain(text)
        return change

    def _read(self, text: str) -> Change | None:
        key, _, value = text.partition("=")
        number = NUMBER.fullmatch(value)
        override = self.override(f"{key}=0" if number else text)
        if override.package is not None or not PLAIN_KEY.fullmatch(override.key_or_group):
            return None
        parsed = (float(value) if number["fraction"] else int(value)) if number else override.value()
        if not _is_plain(parsed) or (override.is_delete() and parsed is not None):
            return None
        return Change(override.type, tuple(override.key_or_group.split(".")), parsed)


def changed(content: JsonObject, changes: Sequence[Change]) -> JsonObject:
    """Returns `content` after changes, in their order; what no change touches is shared with `content`.

    Raises:
        NotPlain: only Hydra can apply, or refuse, a change.
    """
    for change in changes:
        content = _changed(content, change, change.keys)
    return content


def _changed(content: JsonObject, change: Change, keys: tuple[str, ...]) -> JsonObject:
    """Returns a mapping after a change at the key path `keys` inside it."""
    name, rest = keys[0], keys[1:]
    before = content.get(name)
    if before == MISSING or isinstance(before, list):
        raise NotPlain
    adds = change.type in (OverrideType.ADD, OverrideType.FORCE_ADD)
    if rest:
        if not isinstance(before, dict):
            if not adds:
                raise NotPlain
            before = {}
        return {**content, name: _changed(before, change, rest)}
    if change.type is OverrideType.DEL:
        if before is None:
            raise NotPlain  # Hydra says that there is nothing to delete
        return {key: value for key, value in content.items() if key != name}
    if change.type is OverrideType.CHANGE and (name not in content or isinstance(change.value, dict)):
        raise NotPlain  # Hydra looks whether the keys are there
    if change.type is OverrideType.ADD and before is not None and not isinstance(change.value, dict | list):
        raise NotPlain  # Hydra says that there is a value
    return {**content, name: _merged(before, change.value)}


def _merged(before: Any, after: Any) -> Any:
    """Returns what OmegaConf makes of a value where another stands: it merges mappings and replaces all else."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return after
    return {**before, **{key: _merged(before.get(key), value) for key, value in after.items()}}


def _is_plain(value: Any) -> bool:
    """Returns whether a value means the same to OmegaConf as to JSON."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return "${" not in value and value != MISSING
    return value is None or isinstance(value, bool | int | float)
