"""Writes the flatbuffer of a `.tflite` file: tensors, constants and operators of one graph, by LiteRT's own schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Number = bool | int | float
NOTHING: Mapping[str, Number] = {}
IDENTIFIER = b"TFL3"
VERSION = 3
LAST_OLD_CODE = 127
"""Operators of higher numbers do not fit into the byte in which old files hold them."""
SINCE_INT8 = {
    "ADD": 2, "AVERAGE_POOL_2D": 2, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4, "LEAKY_RELU": 2, "LOGISTIC": 2, "MAX_POOL_2D": 2, "MEAN": 2, "MUL": 2, "PAD": 2, "PADV2": 2,
    "QUANTIZE": 2, "RELU": 2, "RESIZE_BILINEAR": 2, "RESIZE_NEAREST_NEIGHBOR": 2, "SLICE": 2, "SOFTMAX": 2, "SPLIT": 2,
    "STRIDED_SLICE": 2, "SUB": 2, "TRANSPOSE": 2, "TRANSPOSE_CONV": 2,
}  # fmt: skip
"""Version of each operator that knows INT8; others know it from their first on."""
SINCE = {"DEQUANTIZE": 3, "TRANSPOSE_CONV": 3}
"""Version that knows weights in FP16, and biases."""


@dataclass(frozen=True)
class Quant:
    """How whole numbers stand for real ones: (number - zero) * scale.

    Attributes:
        scale, zero: one each, or as many as the axis is long.
        axis: of the tensor.
    """

    scale: tuple[float, ...]
    zero: tuple[int, ...]
    axis: int = 0


class FlatbufferWriter:
    """One graph. Equal calls in equal order give equal bytes."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first is that of everything without constants
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: np.dtype[Any] | type,
        quant: Quant | None = None,
        value: np.ndarray | None = None,
    ) -> int:
        """Adds a tensor, a constant where it has a `value`; returns its number."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.hasRank = name, np.asarray(shape, np.int32), True
        tensor.type = data_type(dtype)
        if value is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
            self._buffers.append(buffer)
            tensor.buffer = len(self._buffers) - 1
        self._tensors.append(tensor)
        if quant is not None:
            self.quantize(len(self._tensors) - 1, quant)
        return len(self._tensors) - 1

    def quantize(self, tensor: int, quant: Quant) -> None:
        """Says what the whole numbers of a tensor stand for."""
        kept = schema.QuantizationParametersT()
        kept.scale, kept.zeroPoint = np.asarray(quant.scale, np.float32), np.asarray(quant.zero, np.int64)
        kept.quantizedDimension = quant.axis
        self._tensors[tensor].quantization = kept

    def rename(self, tensor: int, name: str) -> None:
        """Gives a tensor another name."""
        self._tensors[tensor].name = name

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        fields: Mapping[str, Number] = NOTHING,
    ) -> None:
        """Adds an operator.

        Args:
            kind: its name in LiteRT's schema.
            options: name of the table of its options there; "" where it has none.
            fields: of that table.
        """
        types = [self._tensors[number].type for number in (*inputs, *outputs) if number >= 0]
        version = 1
        if schema.TensorType.INT8 in types:
            version = SINCE_INT8.get(kind, 1)
        if kind in SINCE and (schema.TensorType.FLOAT16 in types or kind == "TRANSPOSE_CONV"):
            version = SINCE[kind]
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault((kind, version), len(self._codes))
        operator.inputs = np.asarray(inputs, np.int32)
        operator.outputs = np.asarray(outputs, np.int32)
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")()
            for key, value in fields.items():
                setattr(operator.builtinOptions, key, value)
        self._operators.append(operator)

    def content(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Returns the file.

        Args:
            inputs, outputs: tensors of the graph.
        """
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self._tensors, self._operators
        graph.inputs, graph.outputs = np.asarray(inputs, np.int32), np.asarray(outputs, np.int32)
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = VERSION, [graph], self._buffers
        model.operatorCodes = []
        for kind, version in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, LAST_OLD_CODE)
            code.version = version
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


def data_type(dtype: np.dtype[Any] | type) -> int:
    """Returns the schema's number of a type of numbers."""
    return int(getattr(schema.TensorType, np.dtype(dtype).name.upper()))
