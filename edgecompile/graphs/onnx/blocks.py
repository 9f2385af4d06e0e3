"""The blocks of a network: the modules that it was written as, by which people and compilers speak of its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgecompile.graphs.onnx.structure import Structure

SEPARATOR = "/"
FEWEST = 16
"""Blocks below which the largest is split further."""
LARGEST_SHARE = 0.12
"""Share of all learned layers above which a block is split further: a head holds a third of them."""
RUN = 4
"""Learned layers in a row that make a block, where names tell no modules."""


@dataclass(frozen=True)
class Block:
    """A part of a network.

    Attributes:
        name: a scope of node names, as "/model.9"; of a graph whose names tell no modules, the names of its first and
            last learned layers, as "Conv_3..Conv_9".
        nodes: names of all its nodes, in the graph's order.
        learned: of those, the layers with learned weights.
    """

    name: str
    nodes: tuple[str, ...]
    learned: tuple[str, ...]


def blocks_of(structure: Structure) -> list[Block]:
    """Returns the blocks of a graph, in the order of their first nodes. Every node that has a name is in one block.

    Scopes of names ("/model.9/cv1/conv/Conv" lies in "/model.9") are split from the outermost on, the one with most
    learned layers first, until there are `FEWEST` and none holds more than `LARGEST_SHARE` of the layers.
    """
    names = [node.name for node in structure.nodes]
    learned = [node.name for node in structure.nodes if structure.is_learned(node)]
    scoped = sum(SEPARATOR in name.strip(SEPARATOR) for name in learned)
    parts = _by_scope(names, learned) if 2 * scoped > len(learned) else _in_rows(names, set(learned))
    position = {name: place for place, name in enumerate(names)}
    return sorted(parts, key=lambda block: position[block.nodes[0]])


def layers_within(block: Block) -> list[Block]:
    """Returns the layers with weights of a block, each with the nodes between it and the next; a block without such
    layers is one by itself."""
    return _in_rows(block.nodes, set(block.learned), 1)


def block_by_node(blocks: Iterable[Block]) -> dict[str, str]:
    """Returns the name of the block of each node."""
    return {node: block.name for block in blocks for node in block.nodes}


def _by_scope(names: Sequence[str], learned: Sequence[str]) -> list[Block]:
    scopes = {"": list(learned)}
    settled: set[str] = set()
    while True:
        open_ones = [scope for scope in scopes if scope not in settled]
        if not open_ones:
            break
        largest = max(open_ones, key=lambda scope: (len(scopes[scope]), scope))
        enough = len(scopes) >= FEWEST and len(scopes[largest]) <= max(LARGEST_SHARE * len(learned), 1)
        if enough:
            break
        inner = _inner_scopes(largest, scopes[largest])
        if len(scopes[largest]) < 2 or inner is None:
            settled.add(largest)
            continue
        del scopes[largest]
        scopes |= inner
    held: dict[str, list[str]] = {scope: [] for scope in scopes}
    current = next(iter(scopes))
    for name in names:  # one outside of all scopes, such as one that joins two blocks, goes with those before it
        current = _scope_of(name, held) or current
        held[current].append(name)
    layers = set(learned)
    return [
        Block(scope or SEPARATOR, tuple(nodes), tuple(node for node in nodes if node in layers))
        for scope, nodes in held.items()
        if nodes
    ]


def _inner_scopes(scope: str, learned: Iterable[str]) -> dict[str, list[str]] | None:
    """Returns the scopes right inside of one, with their learned layers, the scope itself for layers that lie in no
    inner one; None where there is none inside."""
    inner: dict[str, list[str]] = {}
    for name in learned:
        rest = name[len(scope) :].strip(SEPARATOR).split(SEPARATOR)
        start = SEPARATOR if not scope and name.startswith(SEPARATOR) else ""
        own = f"{scope}{SEPARATOR if scope else start}{rest[0]}" if len(rest) > 1 else scope
        inner.setdefault(own, []).append(name)
    return None if list(inner) == [scope] else inner


def _scope_of(name: str, scopes: Mapping[str, object]) -> str:
    """Returns the innermost of the scopes that a node lies in, or ""."""
    words = name.split(SEPARATOR)
    inside = (SEPARATOR.join(words[:end]) for end in range(len(words) - 1, 0, -1))
    return next((scope for scope in inside if scope in scopes), "")


def _in_rows(names: Sequence[str], learned: set[str], length: int = RUN) -> list[Block]:
    rows: list[list[str]] = [[]]
    count = 0
    for name in names:
        if name in learned:
            if count == length:
                rows.append([])
                count = 0
            count += 1
        rows[-1].append(name)
    blocks = []
    for row in rows:
        layers = tuple(name for name in row if name in learned)
        ends = list(dict.fromkeys((layers or tuple(row))[:: max(len(layers) - 1, 1)]))
        blocks.append(Block("..".join((ends[0], ends[-1])) if len(ends) > 1 else ends[0], tuple(row), layers))
    return [block for block in blocks if block.nodes]
