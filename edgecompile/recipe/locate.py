"""Says who set a key of a composed recipe: the command line, or which line of which file.

Hydra merges files and forgets where each value came from. It does report in which order it merged them; the
rest is looked up in their text when a message needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from edgecompile.places import shown
from edgecompile.yaml_text import keys_at, line_of, tree_of

COMMAND_LINE = "command line"
PRIMARY = "config"
"""The shipped config that holds the defaults of all recipes."""
PARAMETERS = ("params", "list_params", "grid_params")
"""Keys below hydra.sweeper that hold swept keys with their values."""
Keys = tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """One file in the order of merging. Its content stands at the key path `package` of the recipe ("": the root)."""

    file: Path
    package: str = ""
    choice: str = ""

    @property
    def prefix(self) -> Keys:
        return tuple(self.package.split(".")) if self.package else ()


@dataclass(frozen=True)
class Origin:
    """Who set a key: `file` and `line` (counted from 1), or neither where it came from the command line or nowhere."""

    key: str
    file: Path | None = None
    line: int = 0
    typed: bool = False

    def __str__(self) -> str:
        if self.file is not None:
            return f"{shown(self.file)}:{self.line}:{self.key}"
        return f"{COMMAND_LINE}:{self.key}" if self.typed else self.key

    @property
    def folder(self) -> Path:
        """The folder to which a relative path in the value is relative."""
        return self.file.parent if self.file is not None else Path.cwd()


@dataclass(frozen=True)
class Origins:
    """Where the keys of one recipe came from.

    Attributes:
        layers: the files, each after those that it overrules.
        overrides: what stands on the command line, such as "model.imgsz=320", without the signs before the key.
        recipe: the file of the recipe that was chosen; None where nothing was composed from files.
    """

    layers: tuple[Layer, ...] = ()
    overrides: tuple[str, ...] = ()
    recipe: Path | None = None

    def __eq__(self, other: object) -> bool:
        """All origins are equal: where a recipe was written does not make it another recipe."""
        return isinstance(other, Origins)

    def __hash__(self) -> int:
        return 0

    def with_overrides(self, overrides: Sequence[str]) -> Origins:
        """Returns these origins with other overrides."""
        return Origins(self.layers, tuple(overrides), self.recipe)

    def of(self, *keys: str) -> Origin:
        """Returns who set the value at a key path, or the nearest part around it that somebody set."""
        name = ".".join(keys)
        for depth in range(len(keys), 0, -1):
            origin = self._exactly(keys[:depth], name)
            if origin is not None:
                return origin
        return Origin(name)

    def _exactly(self, keys: Keys, name: str) -> Origin | None:
        if any(_sets(override, keys) for override in self.overrides):
            return self._swept(keys, name) or Origin(name, typed=True)
        for layer in reversed(self.layers):
            rest = keys[len(layer.prefix) :]
            if keys[: len(layer.prefix)] != layer.prefix or not rest:
                continue
            line = line_of(layer.file, rest)
            if line and layer.choice == PRIMARY and self.recipe:  # a default, which the recipe leaves as it is
                return Origin(name, self.recipe, 1)
            if line:
                return Origin(name, layer.file, line)
        return None

    def _swept(self, keys: Keys, name: str) -> Origin | None:
        """Returns the line of a file that sweeps a key; None where the command line alone does."""
        for layer in reversed(self.layers):
            for section in PARAMETERS:
                for key, line in keys_at(layer.file, ("hydra", "sweeper", section)):
                    if _sets(key.lstrip("+~"), keys):
                        return Origin(name, layer.file, line)
        return None

    def leaves(self, layer: Layer) -> Iterator[Keys]:
        """Yields the key path in the recipe of each value other than null that a file sets, but its defaults list."""
        for keys in _leaves(tree_of(layer.file)):
            if keys[0] != "defaults":
                yield (*layer.prefix, *keys)


def lists_of(file: Path) -> Iterator[tuple[Keys, int]]:
    """Yields the key path and the line (from 1) of each list that a file sets, those within lists left out."""
    yield from _lists(tree_of(file), ())


def _lists(node: yaml.Node | None, keys: Keys) -> Iterator[tuple[Keys, int]]:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(value, yaml.SequenceNode):
            yield (*keys, key.value), key.start_mark.line + 1
        yield from _lists(value, (*keys, key.value))


def line_of_text(file: Path, text: str) -> int:
    """Returns the line (from 1) of the first value in the defaults list of `file` that is or ends in `text`, or 0."""
    defaults = next((v for k, v in getattr(tree_of(file), "value", ()) if k.value == "defaults"), None)
    stack = [defaults] if defaults is not None else []
    while stack:
        node = stack.pop(0)
        if isinstance(node, yaml.ScalarNode):
            if node.value == text or node.value.split("@")[0].endswith(f"/{text}"):
                return node.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)
        else:
            stack.extend(part for pair in node.value for part in reversed(pair))
    return 0


def _leaves(node: yaml.Node | None) -> Iterator[Keys]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = list(_leaves(value))
            alone = [] if value.tag == "tag:yaml.org,2002:null" else [(key.value,)]
            yield from ((key.value, *rest) for rest in inner) if inner else alone


def _sets(override: str, keys: Keys) -> bool:
    """Returns whether an override such as "a.b=c" or "a={b: c}" sets the value at `keys`."""
    name, _, value = override.partition("=")
    path = tuple(name.split("."))
    inside = len(path) < len(keys) and value.startswith("{") and f"{keys[len(path)]}:" in value.replace(" ", "")
    return path == keys or (path == keys[: len(path)] and inside)
