"""Reads the text of a recipe before anything is built from it, and refuses what could harm or mislead.

YAML and OmegaConf trust their input: 293 bytes of aliases cost minutes, `_target_` names code to call, `${oc.env:X}`
reads the environment (`data_roots` lists what of it a recipe may read), `012` is 10 and `1:30` is 90. A stream of parse
events costs the same whatever the text says, so all checks look there, and all problems are reported at once, each with
its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from edgecompile.errors import RecipeError
from edgecompile.places import shown
from edgecompile.recipe import allowlist, data_roots
from edgecompile.yaml_text import Finding, Loader, Rules, check_yaml, is_long_number, is_plain

MOST_INTERPOLATIONS = 8
"""Of one file. Chains of `${a}${a}` unfold like aliases do; those of a few interpolations stay small."""
MARKS = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
EMPTY = ("", "{ }", "[ ]", "{ defaults  }", "{ defaults [ ] }", "{ defaults [ _self_ ] }")
"""What a recipe without content consists of, as `_shape` writes it."""
HEADER = 512
"""Characters at the beginning of a file in which Hydra looks for its package."""
LONGEST_INTERPOLATED = 1000
"""Characters of a text with an interpolation: OmegaConf's grammar takes seconds for long texts."""

CODE_KEYS = frozenset({"_target_", "_partial_", "_args_", "_recursive_", "_convert_", "()"})

_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_CLOCK = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)
_NOT_A_NAME = re.compile(r"(yes|no|on|off|true|false|null|~|[-+.]?[0-9][0-9_.:eExXa-fA-F-]*|[-+]?\.(inf|nan)|=|)", re.I)
_INTERPOLATION = re.compile(r"\$\{")
_RESOLVER = re.compile(r"\s*([\w.]+)\s*:")
_KEY_OF_THE_RECIPE = re.compile(r"\s*\.*(?P<root>[A-Za-z_][\w-]*)(\.[\w-]+|\[[\w-]+\])*\s*\}", re.ASCII)


def check_recipe(text: str, file: Path) -> None:
    """Refuses a recipe that is not plain data.

    Raises:
        RecipeError: with a problem for each anchor, alias, tag, key that names code, key that stands twice, value that
            YAML misreads, interpolation that reads more than the recipe, and Hydra setting that belongs to the person.
    """
    check_yaml(text, file, _RecipeRules(text))


def check_not_empty(text: str, file: Path) -> None:
    """Refuses an empty recipe: without a key, or with an empty defaults list alone.

    Raises:
        RecipeError: it is empty.
    """
    try:
        events = islice((event for event in yaml.parse(text, Loader=Loader) if not isinstance(event, MARKS)), 8)
        shapes = [_shape(event) for event in events]
    except yaml.YAMLError:
        return  # `check_recipe` reports what is wrong with it
    if " ".join(shapes) in EMPTY:
        fix = "a recipe begins with what it extends: defaults: [quickstart, _self_]"
        raise RecipeError(f"the recipe '{file.stem}' is empty", where=f"{shown(file)}:1", fix=fix)


def _shape(event: Any) -> str:
    """Returns a node of YAML as a sign or, of a scalar, as its text; a null is nothing."""
    if isinstance(event, yaml.ScalarEvent):
        return "" if is_plain(event) and event.value.lower() in ("", "~", "null") else event.value
    signs = {
        yaml.MappingStartEvent: "{",
        yaml.MappingEndEvent: "}",
        yaml.SequenceStartEvent: "[",
        yaml.SequenceEndEvent: "]",
    }
    return signs.get(type(event), "*")


class _RecipeRules(Rules):
    """What holds for recipes and config groups of a person besides."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.interpolations = 0
        self.refused: list[tuple[str, ...]] = []

    def walk(self, events: Iterator[Any]) -> Iterator[Finding]:
        yield from _header(self.text)
        yield from super().walk(events)

    def key(self, event: Any, line: int, path: tuple[str, ...]) -> Iterator[Finding]:
        name = event.value
        if name in CODE_KEYS:
            yield line, ".".join(path), f"'{name}' names code to run; a recipe is data", "remove it"
        elif is_plain(event) and _NOT_A_NAME.fullmatch(name):
            yield line, ".".join(path), f"YAML does not read the key '{name}' as text", f'write "{name}" if it is meant'
        elif path[0] == "hydra" and len(path) > 1:
            yield from self._report(line, path, path, allowlist.hydra_key_fault(path))
        elif path[0] == "defaults" and len(path) == 3:
            yield from self._report(line, path, ("defaults",), allowlist.group_fault(name))

    def container(self, line: int, path: tuple[str, ...], *, mapping: bool) -> Iterator[Finding]:
        if path[0] in ("hydra", "defaults"):
            yield from self._report(line, path, path, allowlist.container_fault(path, mapping=mapping))

    def value(self, event: Any, line: int, path: tuple[str, ...]) -> Iterator[Finding]:
        text, key = event.value, ".".join(path)
        if path[0] == "hydra":
            fault = allowlist.hydra_value_fault(path, text, plain=is_plain(event))
            yield from self._report(line, path, path, fault)
        elif path == ("defaults",) and text not in ("", "[]"):
            yield line, key, f"'{text}' where a list is expected", f"write [{text}]"
        elif path[0] == "defaults" and len(path) == 2:
            yield from self._report(line, path, ("defaults",), allowlist.config_fault(text))
        elif path[0] == "defaults" and len(path) > 2:
            yield from self._report(line, path, ("defaults",), allowlist.choice_fault(path[2], text))
        yield from self._interpolations(text, line, key)
        if not is_plain(event):
            return
        if _OCTAL.fullmatch(text) and text.strip("+-0_"):
            yield line, key, f"YAML may read {text} as an octal number", f'write {text.lstrip("0_+-")} or "{text}"'
        elif _CLOCK.fullmatch(text):
            yield line, key, f"YAML reads {text} as a number of base 60", f'write "{text}" if text is meant'
        elif _NO_NUMBER.fullmatch(text):
            yield line, key, f"{text} is no number to work with", "leave the key out, or write null"
        elif is_long_number(event):
            yield line, key, f"a number of {len(text)} digits", ""

    def _report(
        self, line: int, path: tuple[str, ...], named: tuple[str, ...], fault: allowlist.Fault | None
    ) -> Iterator[Finding]:
        """Yields a fault at a key path, reported at `named`, unless a part around it was refused already."""
        if fault and not any(path[: len(refused)] == refused for refused in self.refused):
            self.refused.append(path)
            yield line, ".".join(named), *fault

    def _interpolations(self, text: str, line: int, key: str) -> Iterator[Finding]:
        starts = [match.end() for match in _INTERPOLATION.finditer(text)]
        before, self.interpolations = self.interpolations, self.interpolations + len(starts)
        if before <= MOST_INTERPOLATIONS < self.interpolations:
            yield line, key, f"more than {MOST_INTERPOLATIONS} interpolations in one file", ""
        elif starts and len(text) > LONGEST_INTERPOLATED:
            yield line, key, f"an interpolation in {len(text)} characters of text", "write the value out"
        for start in starts[:MOST_INTERPOLATIONS]:
            plain = _KEY_OF_THE_RECIPE.match(text, start)
            if plain and plain["root"] != "hydra":
                continue
            root = data_roots.REFERENCE.match(text, start - 2)
            if root and not key.startswith(("hydra.", "defaults.")):
                if fault := data_roots.name_fault(root["name"]):
                    yield line, key, *fault
                    return
                continue
            resolver = _RESOLVER.match(text, start)
            quoted = f"${{{resolver.group(1)}:…}}" if resolver else text[start - 2 : start + 40]
            yield (
                line,
                key,
                f"'{quoted}' reads more than the recipe",
                "only ${another.key} and ${env:DATA_ROOT} are for recipes",
            )
            return


def _header(text: str) -> Iterator[Finding]:
    """Yields a package in the head of a file, read as Hydra reads it, that is not a place in a recipe."""
    for line in text[:HEADER].splitlines():
        words = line.strip().lstrip("#").split()
        if line.strip() and not line.strip().startswith("#"):
            return
        if words[:1] == ["@package"] and len(words) > 1 and (fault := allowlist.package_fault(words[1])):
            before = text[: text.index(line)].count("\n") + 1
            yield before, "", f"the package '{words[1]}' is not for recipes to set", fault.fix
