"""Lowers an ONNX graph to LiteRT's operators: layout of channels, 8 bits where Q/DQ pairs stand, FP16 weights.

LiteRT's tensors hold channels last. A tensor here is therefore known by its *order*: which axis of the ONNX tensor each
axis of LiteRT's is. An ONNX `Transpose` only changes that word; numbers move where an operator wants another order.

A Q/DQ pair becomes a tensor of 8 bits. An operator all of whose inputs come from such tensors, and whose outputs all
become such, computes in INT8; between the others stand `QUANTIZE` and `DEQUANTIZE`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from edgecompile.errors import StepError
from edgecompile.graphs.litert.flatbuffer import NOTHING, FlatbufferWriter, Number, Quant
from edgecompile.graphs.litert.values import Node, Value
from edgecompile.graphs.onnx.structure import Structure

SIGNED = 128
"""What lies between an unsigned number of 8 bits, which ONNX graphs have, and LiteRT's signed one."""
LEARNED_INPUTS = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2}
"""How many inputs of an operator must be of 8 bits so that it computes with them; the rest are biases."""
EACH_INPUT = frozenset({"Add", "Concat", "Mul", "Sub"})
"""Operators all of whose inputs are data. Of others, the first is."""
FREE_SCALE = frozenset({"Add", "Conv", "ConvTranspose", "Gemm", "Mul", "Sub"})
"""Operators whose INT8 kernels put out any scale."""


class Lowering:
    """The LiteRT graph while it grows.

    Attributes:
        writer: of the file.
        half: whether weights of layers in float are stored in FP16.
    """

    def __init__(self, model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], int8: frozenset[str], half: bool):
        """
        Args:
            shapes: of all tensors of the graph that are not constant.
            int8: operators that LiteRT computes in 8 bits.
        """
        self.writer = FlatbufferWriter()
        self.half = half
        self._structure = Structure(model)
        self._shapes = {name: tuple(map(int, shape)) for name, shape in shapes.items()}
        self._int8 = int8
        self._values: dict[str, list[Value]] = {}
        self._pairs = {
            node.output[0]: node.input[0] for node in self._structure.nodes if node.op_type == "DequantizeLinear"
        }
        self._outputs = [output.name for output in model.graph.output]

    # what a node reads

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a tensor of the ONNX graph."""
        return self._shapes[name] if name in self._shapes else tuple(self.number(name).shape)

    def is_fixed(self, name: str) -> bool:
        """Whether a tensor is stored, as it is or in 8 bits."""
        return self._pairs.get(name, name) in self._structure.constants

    def number(self, name: str) -> np.ndarray:
        """Returns the value of a stored tensor, of one in 8 bits what it stands for.

        Raises:
            StepError: it is computed.
        """
        source = self._pairs.get(name, name)
        if source not in self._structure.constants:
            raise StepError(f"'{name[:60]}' is computed, LiteRT wants it fixed", fix="put the pass 'simplify' before")
        value = self._structure.value(source)
        if source == name:
            return value
        scale, zero, axis = self._steps(self._structure.producer[name])
        shape = [-1 if place == axis and scale.size > 1 else 1 for place in range(value.ndim)]
        real = (value.astype(np.float64) - zero.reshape(shape)) * scale.reshape(shape)
        return np.asarray(real, np.float32)

    def whole(self, name: str) -> tuple[np.ndarray, Quant] | None:
        """Returns a stored tensor in signed 8 bits and what they stand for; None where it is not stored so."""
        source = self._pairs.get(name, "")
        if source not in self._structure.constants:
            return None
        value, (scale, zero, axis) = self._structure.value(source), self._steps(self._structure.producer[name])
        if value.dtype not in (np.int8, np.uint8):
            return None
        less = SIGNED if value.dtype == np.uint8 else 0
        numbers = (value.astype(np.int16) - less).astype(np.int8)
        return numbers, Quant(_floats(scale), _wholes(zero - less), axis if scale.size > 1 else 0)

    def value(self, name: str, *, int8: bool) -> Value:
        """Returns what stands for a computed tensor: of 8 bits, or as the graph has it.

        Raises:
            StepError: nothing does.
        """
        if int8:
            return self._of(self._pairs[name])[0]
        if name not in self._values and name in self._pairs:
            whole = self._of(self._pairs[name])[0]
            self._values[name] = [self.made("DEQUANTIZE", [whole], whole.order, whole.shape, np.float32, name=name)]
        return self._of(name)[0]

    def _of(self, name: str) -> list[Value]:
        if name not in self._values:
            raise StepError(f"'{name[:60]}' is read before it is made")
        return self._values[name]

    def arranged(self, value: Value, order: Sequence[int]) -> Value:
        """Returns a tensor with its axes in an order; made once."""
        wanted = tuple(order)
        if value.order == wanted:
            return value
        views = next((views for views in self._values.values() if value in views), [value])
        if found := next((one for one in views if one.order == wanted and one.dtype == value.dtype), None):
            return found
        target = replace(value, order=wanted)
        if [axis for axis in value.order if value.shape[axis] > 1] == [
            axis for axis in wanted if value.shape[axis] > 1
        ]:
            made = self.reshaped(value, value.shape, wanted)
        else:
            places = np.array([value.order.index(axis) for axis in wanted], np.int32)
            made = self._append("TRANSPOSE", [value.tensor, self.constant(places)], target, "TransposeOptions")
        views.append(made)
        return made

    def reshaped(self, value: Value, shape: Sequence[int], order: Sequence[int] | None = None) -> Value:
        """Returns the numbers of a tensor, as they lie, under another shape."""
        shape = tuple(shape)
        target = replace(value, shape=shape, order=tuple(order) if order is not None else tuple(range(len(shape))))
        sides = np.array(target.laid_out, np.int32)
        return self._append("RESHAPE", [value.tensor, self.constant(sides)], target, "ReshapeOptions")

    def operand(self, name: str, rank: int, order: Sequence[int], *, int8: bool) -> Value:
        """Returns a tensor that is broadcast to `rank` axes in an order: a constant, or a computed one."""
        if self.is_fixed(name):
            held = self.whole(name) if int8 else None
            numbers, quant = held if held is not None else (self.number(name), None)
            if quant is not None and len(quant.scale) > 1:
                raise StepError(f"LiteRT takes one scale for '{name[:60]}'", fix="leave it in float: keep_float")
            spread = numbers.reshape((1,) * (rank - numbers.ndim) + numbers.shape)
            laid_out = np.ascontiguousarray(spread.transpose(tuple(order)))
            number = self.constant(laid_out, quant)
            return Value(number, tuple(order), spread.shape, laid_out.dtype, quant)
        value = self.value(name, int8=int8)
        if len(value.shape) < rank:
            plain = self.arranged(value, range(len(value.shape)))
            value = self.reshaped(plain, (1,) * (rank - len(value.shape)) + value.shape)
        return self.arranged(value, order)

    def constant(self, value: np.ndarray, quant: Quant | None = None) -> int:
        """Adds a constant; returns its number."""
        if value.dtype == np.int64 and quant is None and (abs(value) < 2**31).all():
            value = value.astype(np.int32)
        return self.writer.tensor("", value.shape, value.dtype, quant, value)

    def weights(self, value: np.ndarray, quant: Quant | None = None) -> int:
        """Adds weights of a layer, in FP16 where that is asked for and holds them; returns their number."""
        if not self.half or value.dtype != np.float32 or not np.isfinite(halved := _half(value)).all():
            return self.constant(value, quant)
        stored = self.writer.tensor("", value.shape, np.float16, None, halved)
        restored = self.writer.tensor("", value.shape, np.float32)
        self.writer.operator("DEQUANTIZE", [stored], [restored], options="DequantizeOptions")
        return restored

    # what it puts out

    def made(
        self,
        kind: str,
        inputs: Sequence[Value | int],
        order: Sequence[int],
        shape: Sequence[int],
        dtype: Any,
        quant: Quant | None = None,
        name: str = "",
        options: str = "",
        fields: Mapping[str, Number] = NOTHING,
    ) -> Value:
        """Adds an operator with one output and returns that."""
        target = Value(-1, tuple(order), tuple(shape), np.dtype(dtype), quant)
        numbers = [entry.tensor if isinstance(entry, Value) else entry for entry in inputs]
        return self._append(kind, numbers, target, options, fields, name)

    def _append(
        self,
        kind: str,
        inputs: Sequence[int],
        target: Value,
        options: str = "",
        fields: Mapping[str, Number] = NOTHING,
        name: str = "",
    ) -> Value:
        number = self.writer.tensor(name, target.laid_out, target.dtype, target.quant)
        self.writer.operator(kind, inputs, [number], options, fields)
        return replace(target, tensor=number)

    def result(
        self,
        node: Node,
        kind: str,
        inputs: Sequence[Value | int],
        order: Sequence[int],
        *,
        quant: Quant | None = None,
        output: int = 0,
        options: str = "",
        fields: Mapping[str, Number] = NOTHING,
    ) -> None:
        """Adds the operator that makes an output of a node.

        Args:
            quant: what its numbers stand for in INT8, where the kernel leaves no choice.
            output: which output.
            options, fields: of the operator, see `FlatbufferWriter.operator`.
        """
        name = node.outputs[output]
        dtype: Any = np.int8 if node.int8 else np.float32
        chosen = (quant or self._wanted(node, output)) if node.int8 else None
        made = self.made(kind, inputs, order, self.shape(name), dtype, chosen, node.name, options, fields)
        self.give(node, made, output)

    def give(self, node: Node, value: Value, output: int = 0) -> None:
        """Says what stands for an output of a node."""
        name = node.outputs[output]
        self._values[self._quantizer(name).output[0] if node.int8 else name] = [value]

    def _wanted(self, node: Node, output: int) -> Quant:
        """Returns what an output in INT8 is to stand for. What only a concatenation reads takes its scale, so that
        nothing is rounded twice."""
        quantizer = self._quantizer(node.outputs[output])
        if node.kind in FREE_SCALE:
            readers = [
                reader
                for dequantizer in self._structure.consumers.get(quantizer.output[0], [])
                for reader in self._structure.consumers.get(dequantizer.output[0], [])
            ]
            if len(readers) == 1 and readers[0].op_type == "Concat" and self._in_int8(readers[0]):
                quantizer = self._quantizer(readers[0].output[0])
        return self._quant(quantizer)

    def scale_of(self, node: Node) -> Quant:
        """Returns what the first output of a node in INT8 stands for."""
        return self._quant(self._quantizer(node.outputs[0]))

    def requantized(self, value: Value, quant: Quant) -> Value:
        """Returns a tensor of 8 bits on another scale."""
        if value.quant == quant:
            return value
        return self.made("QUANTIZE", [value], value.order, value.shape, np.int8, quant, options="QuantizeOptions")

    # pairs

    def _steps(self, node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray, int]:
        """Returns scale and zero point of a node of a pair, as int64, and the axis."""
        scale = np.atleast_1d(self._structure.value(node.input[1])).astype(np.float32)
        zero = self._structure.value(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.uint8)
        axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
        return scale, np.atleast_1d(zero).astype(np.int64), int(axis)

    def _quant(self, node: onnx.NodeProto) -> Quant:
        scale, zero, _ = self._steps(node)
        named = len(node.input) > 2 and node.input[2]
        unsigned = not named or self._structure.value(node.input[2]).dtype == np.uint8
        if scale.size > 1:
            raise StepError(f"LiteRT takes one scale for activations, '{node.name[:60]}' has {scale.size}")
        return Quant(_floats(scale), _wholes(zero - (SIGNED if unsigned else 0)))

    def _quantizer(self, name: str) -> onnx.NodeProto:
        return self._structure.consumers[name][0]

    def _in_int8(self, node: onnx.NodeProto) -> bool:
        """Whether a node computes in 8 bits: what it reads and what it puts out is in pairs."""
        if node.op_type not in self._int8:
            return False
        count = LEARNED_INPUTS.get(node.op_type, 1)
        read = node.input if node.op_type in EACH_INPUT else node.input[:count]
        if any(name not in self._pairs for name in read):
            return False
        if node.op_type in LEARNED_INPUTS:
            held = self.whole(node.input[1])
            if held is None or any(held[1].zero):
                return False
        return all(
            name not in self._outputs
            and [one.op_type for one in self._structure.consumers.get(name, [])] == ["QuantizeLinear"]
            for name in node.output
        )

    # the whole graph

    def run(self, handlers: Mapping[str, Any]) -> bytes:
        """Lowers all nodes; returns the file.

        Args:
            handlers: operator of ONNX to the function that lowers a node of it.

        Raises:
            StepError: an operator has no such function, or cannot be lowered.
        """
        entry = self._structure.graph.input[0]
        self._enter(entry)
        for node in self._structure.nodes:
            if node.op_type == "Constant" or node.op_type == "DequantizeLinear":
                continue
            if node.op_type == "QuantizeLinear":
                self._quantize(node)
                continue
            attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            int8 = self._in_int8(node)
            read = Node(node.name, node.op_type, tuple(node.input), tuple(node.output), attributes, int8)
            handlers[node.op_type](self, read)
        return self.writer.content([self._values[entry.name][0].tensor], self._ends())

    def _enter(self, entry: onnx.ValueInfoProto) -> None:
        """Adds the input: pictures, which hold channels last."""
        dtype = onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        shape = self.shape(entry.name)
        number = self.writer.tensor(entry.name, shape, dtype)
        self._values[entry.name] = [Value(number, tuple(range(len(shape))), shape, np.dtype(dtype))]

    def _quantize(self, node: onnx.NodeProto) -> None:
        """Adds a conversion to 8 bits, where the maker of the tensor does not put it out so."""
        if node.output[0] not in self._values:
            value = self.value(node.input[0], int8=False)
            quant = self._quant(node)
            made = self.made("QUANTIZE", [value], value.order, value.shape, np.int8, quant, options="QuantizeOptions")
            self._values[node.output[0]] = [made]

    def take_bytes(self, name: str) -> None:
        """Makes signed numbers of the bytes of a picture, which a pair reads as they are."""
        for dequantizer in self._structure.consumers.get(name, []):
            if dequantizer.op_type == "DequantizeLinear":
                value, quant = self._values[name][0], self._quant(dequantizer)
                unsigned = Quant(quant.scale, tuple(zero + SIGNED for zero in quant.zero))
                self.writer.quantize(value.tensor, unsigned)
                made = self.made(
                    "QUANTIZE", [value], value.order, value.shape, np.int8, quant, options="QuantizeOptions"
                )
                self._values[name] = [made]
                return

    def alias(self, node: Node, value: Value, order: Sequence[int]) -> None:
        """Says that an output of a node is a tensor that is there already, in an order."""
        name = node.outputs[0]
        self.give(node, replace(value, order=tuple(order), shape=self.shape(name)))
        if not node.int8 and value.dtype == np.uint8:
            self.take_bytes(name)

    def _ends(self) -> list[int]:
        """Returns the tensors of the outputs, under the names that they have in the ONNX graph."""
        numbers: list[int] = []
        for name in self._outputs:
            value = self.value(name, int8=False)
            plain = self.arranged(value, range(len(value.shape)))
            if plain.tensor in numbers or plain.tensor == self._values[self._structure.graph.input[0].name][0].tensor:
                plain = self.reshaped(plain, plain.shape)
            self.writer.rename(plain.tensor, name)
            numbers.append(plain.tensor)
        return numbers


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _wholes(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _half(value: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return value.astype(np.float16)
