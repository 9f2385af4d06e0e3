"""A quantized graph in which every quantizer has a switch: one session answers any mix of INT8 and float.

Each Q/DQ pair of an activation, and each pair of weights, stands in a branch of an `If` whose other branch passes the
float tensor on; the gates are an input of the graph. The pairs are those that the target's own placement puts: what is
simulated is what would be built. A tensor counts as quantized while any part that touches it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecompile.graphs.onnx.agreement import single_thread_session
from edgecompile.graphs.onnx.structure import Structure
from edgecompile.weights.onnx_header import PAIR

if TYPE_CHECKING:
    from edgecompile.quantization.qdq import Placement

GATES = "edgecompile_gates"
ACTIVATIONS, WEIGHTS = "activations", "weights"
"""Kinds of what is quantized; biases go with the weights."""


@dataclass(frozen=True)
class Gate:
    """A switch: what it quantizes, and the parts any of which needs it closed."""

    kind: str
    parts: frozenset[str]


class GatedGraph:
    """A float network and its quantized self in one session.

    Attributes:
        parts: names of the parts that can be quantized, in the graph's order.
        input: name of the picture input.
    """

    def __init__(
        self,
        reference: onnx.ModelProto,
        quantized: onnx.ModelProto,
        part_of: Mapping[str, str],
        placement: Placement,
        in_float: Collection[str],
    ) -> None:
        """Puts the switches in and opens the session.

        Args:
            reference: the float graph, with names for all nodes.
            quantized: the same with Q/DQ pairs.
            part_of: name of a node to the name of its part.
            placement: by which the pairs were put.
            in_float: names of nodes that it leaves in float.
        """
        self._gates: dict[Gate, int] = {}
        self._new: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._made: dict[tuple[str, str, int], str] = {}
        before = Structure(reference)
        held = [
            node.name for node in before.nodes if node.op_type in placement["operators"] and node.name not in in_float
        ]
        quantizes = {name: part_of[name] for name in held}
        self.parts = tuple(dict.fromkeys(quantizes.values()))
        self.input = reference.graph.input[0].name
        touched = _touched(Structure(quantized), quantizes, not placement.get("inputs_only"))
        model = self._gated(before, quantized, quantizes, touched)
        self._session = single_thread_session(model.SerializeToString())
        self._reference = reference

    def _gated(
        self,
        before: Structure,
        quantized: onnx.ModelProto,
        quantizes: Mapping[str, str],
        touched: Mapping[str, frozenset[str]],
    ) -> onnx.ModelProto:
        """Returns the quantized graph with switches, each before the first node that reads it."""
        model = onnx.ModelProto()
        model.CopyFrom(quantized)
        after = Structure(model)
        floats = {node.name: node for node in before.nodes}
        ordered: list[onnx.NodeProto] = []
        for node in after.nodes:
            twin = None if node.op_type in PAIR else floats.get(node.name)
            for position, name in enumerate(node.input if twin is not None else ()):
                origin = _origin(after, name)
                if origin is None or twin is None:
                    continue
                if origin in after.fixed:
                    gate = Gate(WEIGHTS, frozenset({quantizes[node.name]} if node.name in quantizes else ()))
                    pair, plain = [], self._kept(before, twin.input[position])
                else:
                    gate = Gate(ACTIVATIONS, touched.get(origin, frozenset()))
                    pair, plain = _pair(after, name), origin
                node.input[position] = self._switched(gate, pair, name, plain)
            ordered += [*self._new, node]
            self._new.clear()
        graph = model.graph
        kept = _read_ones(ordered, {output.name for output in graph.output})
        del graph.node[:]
        graph.node.extend(kept)
        graph.initializer.extend(self._constants.values())
        graph.input.append(helper.make_tensor_value_info(GATES, TensorProto.BOOL, [max(len(self._gates), 1)]))
        return model

    def _kept(self, before: Structure, name: str) -> str:
        """Returns the name under which a constant of the float graph stands beside its quantized self."""
        kept = f"{GATES}_float_{name}"
        if kept not in self._constants:
            self._constants[kept] = numpy_helper.from_array(np.ascontiguousarray(before.value(name)), kept)
        return kept

    def _switched(self, gate: Gate, pair: Sequence[onnx.NodeProto], quantized: str, plain: str) -> str:
        """Returns the tensor that is `quantized` where the gate is closed, else `plain`.

        Args:
            pair: nodes that make `quantized`, which run only where it is wanted; none where it is a constant.
        """
        number = self._gates.setdefault(gate, len(self._gates))
        key = (quantized, plain, number)
        if key not in self._made:
            result = self._made[key] = f"{GATES}_of_{len(self._made)}"
            closed = [_renamed(node, result) for node in pair]
            source = closed[-1].output[0] if closed else quantized
            branches = {
                "then_branch": _branch([*closed, helper.make_node("Identity", [source], [f"{result}_closed"])]),
                "else_branch": _branch([helper.make_node("Identity", [plain], [f"{result}_open"])]),
            }
            self._new.append(helper.make_node("If", [self._switch(number)], [result], **branches))
        return self._made[key]

    def _switch(self, number: int) -> str:
        """Returns the tensor that holds one gate."""
        switch, index = f"{GATES}_{number}", f"{GATES}_index_{number}"
        if index not in self._constants:
            self._constants[index] = numpy_helper.from_array(np.array(number, np.int64), index)
            self._new.append(helper.make_node("Gather", [GATES, index], [switch], axis=0))
        return switch

    def run(
        self, picture: np.ndarray, activations: Collection[str], weights: Collection[str] | None = None
    ) -> list[np.ndarray]:
        """Returns the outputs for a picture.

        Args:
            picture: the input tensor.
            activations: parts whose activations are in INT8.
            weights: parts whose weights are; None for the same.
        """
        closed = {ACTIVATIONS: set(activations), WEIGHTS: set(activations if weights is None else weights)}
        values = np.zeros(max(len(self._gates), 1), bool)
        for gate, number in self._gates.items():
            values[number] = not gate.parts.isdisjoint(closed[gate.kind])
        outputs: list[Any] = self._session.run(None, {self.input: picture, GATES: values})
        return outputs

    def tensors(self, picture: np.ndarray, names: Collection[str]) -> dict[str, np.ndarray]:
        """Returns float32 tensors of the float graph for a picture; those that are none are left out."""
        observed = onnx.shape_inference.infer_shapes(self._reference)
        known = {info.name: info for info in (*observed.graph.value_info, *observed.graph.output)}
        wanted = [
            name for name in names if name in known and known[name].type.tensor_type.elem_type == TensorProto.FLOAT
        ]
        del observed.graph.output[:]
        observed.graph.output.extend(known[name] for name in wanted)
        if not wanted:
            return {}
        session = single_thread_session(observed.SerializeToString())
        return dict(zip(wanted, session.run(None, {self.input: picture}), strict=True))


def _touched(after: Structure, quantizes: Mapping[str, str], outputs_too: bool) -> dict[str, frozenset[str]]:
    """Returns for each activation that has a pair the parts that read it quantized, or that put it out so."""
    touched: dict[str, set[str]] = {}
    for node in after.nodes:
        if node.name in quantizes and node.op_type not in PAIR:
            names = [
                *filter(None, (_origin(after, name) for name in node.input)),
                *(node.output if outputs_too else ()),
            ]
            for name in names:
                touched.setdefault(name, set()).add(quantizes[node.name])
    return {name: frozenset(parts) for name, parts in touched.items()}


def _pair(structure: Structure, name: str) -> list[onnx.NodeProto]:
    """Returns the two nodes that quantize a tensor and bring it back."""
    dequantize = structure.producer[name]
    return [structure.producer[dequantize.input[0]], dequantize]


def _renamed(node: onnx.NodeProto, prefix: str) -> onnx.NodeProto:
    """Returns a copy of a node of a pair with outputs, and an input from the other, of names of its own."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = ""
    copy.output[0] = f"{prefix}_{node.op_type}"
    if node.op_type == "DequantizeLinear":
        copy.input[0] = f"{prefix}_QuantizeLinear"
    return copy


def _branch(nodes: Sequence[onnx.NodeProto]) -> onnx.GraphProto:
    """Returns a branch of an `If` that puts out what its last node does."""
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    return helper.make_graph(list(nodes), "branch", [], [output])


def _read_ones(nodes: Sequence[onnx.NodeProto], outputs: Collection[str]) -> list[onnx.NodeProto]:
    """Returns the nodes without those of pairs that nobody reads any more."""
    read = set(outputs)
    kept = []
    for node in reversed(nodes):
        if node.op_type in PAIR and read.isdisjoint(node.output):
            continue
        kept.append(node)
        inner = (one for attribute in node.attribute if attribute.HasField("g") for one in attribute.g.node)
        read.update(name for one in (node, *inner) for name in one.input)
    return kept[::-1]


def _origin(structure: Structure, name: str) -> str | None:
    """Returns the tensor that a tensor is the quantized self of; None where no pair stands before it."""
    maker = structure.producer.get(name)
    if maker is None or maker.op_type != "DequantizeLinear":
        return None
    first = structure.producer.get(maker.input[0])
    return first.input[0] if first is not None and first.op_type == "QuantizeLinear" else maker.input[0]
