"""The nodes of an ONNX graph by name, read with the standard library alone."""

from __future__ import annotations

from dataclasses import dataclass

from edgecompile.runtime.onnx_wire import fields

GRAPH_OF_MODEL, NODE_OF_GRAPH = 7, 1
INPUT, OUTPUT, NAME, OPERATOR = 1, 2, 3, 4
"""Fields of a node."""


@dataclass(frozen=True)
class Node:
    """A node of the main graph: its name, which may be "", its operator, and the tensors that it reads and makes."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_nodes(content: bytes) -> list[Node]:
    """Returns the nodes of the main graph of a model that `edgecompile.runtime.onnx_wire` accepted, in its order."""
    nodes = []
    for number, graph in fields(content, 0, len(content)):
        if number == GRAPH_OF_MODEL:
            nodes += [_node(part) for number, part in fields(graph, 0, len(graph)) if number == NODE_OF_GRAPH]
    return nodes


def _node(content: bytes) -> Node:
    texts: dict[int, list[str]] = {INPUT: [], OUTPUT: [], NAME: [], OPERATOR: []}
    for number, value in fields(content, 0, len(content)):
        if number in texts:
            texts[number].append(value.decode("utf-8", "replace"))
    return Node("".join(texts[NAME]), "".join(texts[OPERATOR]), tuple(texts[INPUT]), tuple(texts[OUTPUT]))
