"""Times of layers out of the trace that ONNX Runtime's profiler writes.

The trace names nodes of the graph as it was optimized. Which nodes of the model a layer computes, ONNX Runtime does
not say: it is found by the names, which fused nodes keep from one of those they are made of, and by the connections.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgecompile.runtime.layer_timings import LayerRuns, LayerTimings, precision_of
from edgecompile.runtime.onnx_nodes import Node

RUN, KERNEL = "model_run", "_kernel_time"
"""Name of the events of whole runs, and what follows the name of a node."""
BEFORE, AFTER = "DequantizeLinear", "QuantizeLinear"
"""Operators that belong to the node behind them, and to the node before them."""
TAKES_BEFORE = "FusedMatMul"
"""A layer that goes by the operator of its own node, and takes transpositions and scalings before it too."""
REMARK = "ONNX Runtime does not say which nodes a layer computes: they are found by names and connections"


def read_trace(events: Sequence[Mapping[str, Any]], nodes: Sequence[Node], warmup: int) -> LayerTimings:
    """Returns the layers of a trace.

    Args:
        events: of the trace; times in microseconds.
        nodes: of the model, before it was optimized.
        warmup: how many runs do not count.
    """
    runs = [event for event in events if event.get("name") == RUN]
    starts = sorted(event["ts"] for event in runs)
    layers: dict[tuple[str, str], tuple[dict[str, Any], list[float]]] = {}
    for event in events:
        name, run = str(event.get("name")), bisect_right(starts, event.get("ts", -1)) - 1
        if event.get("cat") != "Node" or not name.endswith(KERNEL) or run < 0:
            continue
        arguments = event.get("args", {})
        key = str(arguments.get("node_index")), name.removesuffix(KERNEL)
        _, times = layers.setdefault(key, (arguments, [0.0] * len(starts)))
        times[run] += event["dur"] / 1e3
    names = [(name, str(arguments.get("op_name"))) for (_, name), (arguments, _) in layers.items()]
    owners = owners_of(nodes, names)
    timed = [
        _layer(
            *named, arguments, times[warmup:], [node for node, owner in zip(nodes, owners, strict=True) if owner == at]
        )
        for at, (named, (arguments, times)) in enumerate(zip(names, layers.values(), strict=True))
    ]
    folded = Counter(node.operator for node, owner in zip(nodes, owners, strict=True) if owner is None)
    whole = [event["dur"] / 1e3 for event in sorted(runs, key=lambda event: event["ts"])]
    return LayerTimings(timed, whole[warmup:], folded, (REMARK,))


def _layer(
    name: str, operator: str, arguments: Mapping[str, Any], times: Sequence[float], nodes: Sequence[Node]
) -> LayerRuns:
    fused = tuple(dict.fromkeys(node.operator for node in nodes)) if len(nodes) > 1 else ()
    named = tuple(node.name for node in nodes if node.name)
    return LayerRuns(name, operator, precision_of(_type_read(arguments)), times, named, fused)


def _type_read(arguments: Mapping[str, Any]) -> str | None:
    """Returns the type of the first input that is no single number: scales may stand before it."""
    inputs = [entry for listed in arguments.get("input_type_shape", ()) for entry in listed.items()]
    return next((kind for kind, shape in inputs if shape), inputs[0][0] if inputs else None)


def owners_of(nodes: Sequence[Node], layers: Sequence[tuple[str, str]]) -> list[int | None]:
    """Returns for each node which layer computes it; None for a node that none computes.

    A layer computes the node whose name it has. A node without a layer of its own belongs to the layer behind it, where
    that is another operator than the node it is named after (QuickGelu, named after a Mul, takes the Sigmoid before it)
    or where it dequantizes; else to the layer before it (the Relu of a convolution).

    Args:
        layers: name and operator of each.
    """
    owners = _named_owners(nodes, layers)
    makers = {tensor: at for at, node in enumerate(nodes) for tensor in node.outputs if tensor}
    readers: dict[str, list[int]] = {}
    for at, node in enumerate(nodes):
        for tensor in node.inputs:
            readers.setdefault(tensor, []).append(at)
    grown = {
        at for at, owner in enumerate(owners) if owner is not None and not layers[owner][1].endswith(nodes[at].operator)
    }
    for at in reversed(range(len(nodes))):  # the graph is sorted: what stands behind a node is known by then
        if owners[at] is None and nodes[at].operator != AFTER:
            behind = [reader for tensor in nodes[at].outputs for reader in readers.get(tensor, ())]
            takers = [
                reader
                for reader in behind
                if owners[reader] is not None and (reader in grown or nodes[at].operator == BEFORE)
            ]
            if takers:
                owners[at] = owners[takers[0]]
                grown.add(at)
    for at, node in enumerate(nodes):
        if owners[at] is None:
            before = [owners[makers[tensor]] for tensor in node.inputs if tensor in makers]
            owners[at] = max((owner for owner in before if owner is not None), default=None)
    return owners


def _named_owners(nodes: Sequence[Node], layers: Sequence[tuple[str, str]]) -> list[int | None]:
    """Returns for each node the layer that is named after it."""
    places = {node.name: at for at, node in enumerate(nodes) if node.name}
    owners: list[int | None] = [None] * len(nodes)
    for exact in (True, False):
        for at, (name, _) in enumerate(layers):
            place = next((places[part] for part in ([name] if exact else _beginnings(name)) if part in places), None)
            if place is not None and owners[place] is None and at not in owners:
                owners[place] = at
    return owners


def _beginnings(name: str) -> Iterable[str]:
    """Yields a name without the parts that an optimizer adds behind "_" or "/", the longest first."""
    while name:
        yield name
        name = name[: max(name.rfind("_"), name.rfind("/"), 0)]
