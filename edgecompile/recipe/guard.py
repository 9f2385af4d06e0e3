"""Reads the text of a recipe before anything is built from it, and refuses what could harm or mislead.

YAML and OmegaConf trust their input: 293 bytes of aliases cost minutes, `_target_` names code to call, `${oc.env:X}`
reads the environment, `012` is 10 and `1:30` is 90. A stream of parse events costs the same whatever the text says, so
everything is looked for there, and everything found is reported at once, each with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecompile.yaml_text import Finding, Rules, check_yaml, is_plain

MOST_INTERPOLATIONS = 8
"""Of one file. Chains of `${a}${a}` unfold like aliases do; those of a few interpolations stay small."""

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


def check_recipe(text: str, file: Path) -> None:
    """Refuses a recipe that is not plain data.

    Raises:
        RecipeError: with a problem for each anchor, alias, tag, key that names code, key that stands twice, value that
            YAML misreads, interpolation that reads more than the recipe, and Hydra setting that belongs to the person.
    """
    check_yaml(text, file, _RecipeRules(text))


class _RecipeRules(Rules):
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
        elif is_plain(event) and _NOT_A_NAME.fullmatch(name):
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
        if not is_plain(event):
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
