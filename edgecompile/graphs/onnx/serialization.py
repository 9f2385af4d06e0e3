"""ONNX files whose bytes depend on nothing but the graph."""

from __future__ import annotations

import heapq
from pathlib import Path

import onnx

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.walk import nodes_within, tensors_within

IR_VERSION = 10
"""Highest ONNX IR version written: the newest that ONNX Runtime 1.19, the oldest runtime supported, reads."""


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Removes, in place, what exporters and tools leave behind beside the graph, and returns the model.

    Dates, training paths and descriptions (`metadata_props`), producers, doc strings and per-node metadata (which holds
    source paths when the exporter ran under dynamo). Names of nodes and tensors stay: people exclude nodes by them.
    """
    for field in ("producer_name", "producer_version", "domain", "doc_string", "metadata_props", "model_version"):
        model.ClearField(field)
    model.ir_version = min(model.ir_version, IR_VERSION)
    opsets = sorted(model.opset_import, key=lambda opset: opset.domain)
    used = {node.domain for node in nodes_within(model)}
    kept = [onnx.helper.make_opsetid(opset.domain, opset.version) for opset in opsets if opset.domain in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    _strip_graph(model.graph)
    model.graph.name = "model"
    return model


def _strip_graph(graph: onnx.GraphProto) -> None:
    graph.ClearField("doc_string")
    graph.ClearField("metadata_props")
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    for node in graph.node:
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            if attribute.type == onnx.AttributeProto.GRAPH:
                _strip_graph(attribute.g)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Strips `model`, checks it, and writes it to `path`.

    Raises:
        onnx.checker.ValidationError: when the graph is not valid.
        StepError: when a tensor of it lies in another file.
    """
    strip(model)
    require_self_contained(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def sort_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Orders the nodes, in place, so that each stands after those it reads, else as they stood. Returns the model."""
    graph = model.graph
    available = {"", *(entry.name for entry in graph.input), *(tensor.name for tensor in graph.initializer)}
    waiting: dict[str, list[int]] = {}  # tensor not made yet -> positions of the nodes that wait for it first
    missing = [{name for name in node.input if name not in available} for node in graph.node]
    for position, names in enumerate(missing):
        for name in names:
            waiting.setdefault(name, []).append(position)
    ready = [position for position, names in enumerate(missing) if not names]
    heapq.heapify(ready)
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for name in graph.node[order[-1]].output:
            for position in waiting.pop(name, ()):
                missing[position].discard(name)
                if not missing[position]:
                    heapq.heappush(ready, position)
    nodes = [graph.node[position] for position in order]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return model


def load(path: Path) -> onnx.ModelProto:
    """Reads a model that a step wrote: one file.

    Raises:
        StepError: when a tensor of it lies in another file.
    """
    return require_self_contained(onnx.load_model_from_string(path.read_bytes()))


def require_self_contained(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a model whose tensors all lie within it.

    Raises:
        StepError: some do not. What opens such a model reads files that nobody has checked.
    """
    for tensor in tensors_within(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise StepError(f"the tensor '{tensor.name[:60]}' lies outside of the model's file, where steps put none")
    return model


def operator_counts(model: onnx.ModelProto) -> dict[str, int]:
    """Returns how many nodes of each operator the graph has, by name."""
    counts: dict[str, int] = {}
    for node in model.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))
