"""The header of an ONNX file: its inputs, operators, operator sets, metadata. Parses no tensor.

An ONNX file is one protobuf message. This module walks its fields by their lengths, so that it steps over gigabytes of
weights and needs no library. It does not describe a file that is cut, or has more fields than any model.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

MOST_FIELDS = 1_000_000
"""Most fields of messages that are walked: a second of work. YOLO11n has 6,000."""
LONGEST_TEXT = 1 << 20
"""Most bytes of a name or of a value of the metadata that are read."""
MOST_TEXT = 64 << 20
"""Most bytes of all names and values."""
DEEPEST = 16
"""Graphs in graphs that are walked."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Kinds of values on protobuf's wire."""
FLOAT = 1
"""Number of the element type float32."""
ELEMENT_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "text", 9: "bool",
    10: "float16", 11: "float64", 16: "bfloat16",
}  # fmt: skip
"""Number of an element type to its name."""

OLDEST, NEWEST = 7, 28
"""Operator sets that can be read: from the oldest that ONNX Runtime runs, since older sets cannot be run to prove that
raising them changed nothing, to the newest that any version of ONNX knew when this was written."""

QUANTIZED = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    }
)
"""Operators of a graph that computes with integers."""

UNSIGNED = frozenset({2, 4, 21})
"""Element types of numbers that are quantized without a sign: uint8, uint16, uint4."""

PAIR = frozenset({"DequantizeLinear", "QuantizeLinear"})
"""Those of Q/DQ pairs, between which a graph computes as in float."""

OWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
"""Domains of operators that ONNX Runtime brings."""

Operator = tuple[str, str]
"""Domain and name."""

Span = tuple[int, int]


@dataclass(frozen=True)
class OnnxInput:
    """An input of a graph: its name, the number of its element type, and its shape, None where an axis is open."""

    name: str
    element_type: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class OnnxHeader:
    """The header of an ONNX file.

    Attributes:
        inputs: of the graph, without those that weights stand in for.
        metadata: key to value.
        operator_sets: domain ("" for ONNX's own) to version.
        operators: each that occurs, in nested graphs and functions too.
        functions: that the file itself defines.
        signed_pairs: whether Q/DQ pairs are all of int8 around 0, as far as the file shows.
    """

    inputs: tuple[OnnxInput, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    operator_sets: dict[str, int] = field(default_factory=dict)
    operators: frozenset[Operator] = frozenset()
    functions: frozenset[Operator] = frozenset()
    signed_pairs: bool = True

    @property
    def operator_set(self) -> int:
        """Version of ONNX's own operators; 0 where the file names none."""
        return max((version for domain, version in self.operator_sets.items() if domain in ("", "ai.onnx")), default=0)

    def plugins(self) -> list[str]:
        """Returns the operators that only a plugin of some runtime brings."""
        return sorted(
            f"{domain}:{name}" if domain else name
            for domain, name in self.operators - self.functions
            if domain not in OWN_DOMAINS or name.endswith("_TRT")
        )


class Malformed(ValueError):
    """The file is cut, or is no protobuf message."""


def read_header(path: Path) -> OnnxHeader | None:
    """Returns the header of an ONNX file, or None where it is no ONNX file that can be walked.

    Args:
        path: any file.
    """
    try:
        status = path.stat()
        return _read(path, status.st_mtime_ns, status.st_size)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _read(path: Path, changed: int, size: int) -> OnnxHeader | None:
    """Returns the header of a file, which is read again once it has changed."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Walk(content).header()
    except (OSError, ValueError, UnicodeDecodeError):  # ValueError: an empty or malformed file
        return None


class _Walk:
    """Walks the fields of messages, up to a number of them."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._left = MOST_FIELDS
        self._text_left = MOST_TEXT
        self._operators: set[Operator] = set()
        self._zero_points: set[str] = set()
        self._stored: dict[str, Span | int | None] = {}

    def header(self) -> OnnxHeader:
        metadata: dict[str, str] = {}
        operator_sets: dict[str, int] = {}
        inputs: list[OnnxInput] = []
        functions: set[Operator] = set()
        graphs = 0
        for number, value in self.fields((0, len(self._content))):
            if number == 7 and isinstance(value, tuple):  # ModelProto.graph
                graphs += 1
                for inner, span in self.fields(value):
                    if inner == 11:  # GraphProto.input
                        inputs.append(self.input(span))
                    elif inner == 5:  # GraphProto.initializer
                        self._stored[self.text(self.first(span, 8))] = span
                    elif inner == 1:  # GraphProto.node
                        self.node(span)
            elif number == 8:  # ModelProto.opset_import
                operator_sets[self.text(self.first(value, 1))] = self.whole(self.first(value, 2))
            elif number == 14:  # ModelProto.metadata_props
                metadata[self.text(self.first(value, 1))] = self.text(self.first(value, 2))
            elif number == 25:  # ModelProto.functions
                functions.add((self.text(self.first(value, 10)), self.text(self.first(value, 1))))
                self.nodes(value, 7)  # FunctionProto.node
        if graphs != 1:
            raise Malformed("no graph")
        own = tuple(entry for entry in inputs if entry.name not in self._stored)
        signed = not any(self.is_unsigned(name) for name in self._zero_points)
        return OnnxHeader(own, metadata, operator_sets, frozenset(self._operators), frozenset(functions), signed)

    def is_unsigned(self, zero_point: str) -> bool:
        """Whether a zero point that is stored is not 0 of a signed type; one that is left out, "", is uint8."""
        if not zero_point:
            return True
        tensor = self._stored.get(zero_point)
        if tensor is None:
            return False
        if self.whole(self.first(tensor, 2)) in UNSIGNED:  # TensorProto.data_type
            return True
        numbers = [span for number, span in self.fields(tensor) if number in (5, 9)]  # int32_data, raw_data
        return any(any(self._content[span[0] : span[1]]) if isinstance(span, tuple) else span != 0 for span in numbers)

    def nodes(self, span: Span | int, number: int, depth: int = 0) -> None:
        """Notes the operators of a message whose field `number` holds nodes."""
        if depth > DEEPEST:
            raise Malformed("graphs in graphs in graphs")
        for field_number, value in self.fields(span):
            if field_number == number:
                self.node(value, depth)

    def node(self, span: Span | int, depth: int = 0) -> None:
        """Notes the operator of a NodeProto and those of the graphs within it."""
        name = domain = ""
        inputs: list[str] = []
        for number, value in self.fields(span):
            if number == 1:
                inputs.append(self.text(value))
            elif number == 4:
                name = self.text(value)
            elif number == 7:
                domain = self.text(value)
            elif number == 5:  # NodeProto.attribute
                for inner, graph in self.fields(value):
                    if inner in (6, 11):  # AttributeProto.g, .graphs
                        self.nodes(graph, 1, depth + 1)
        self._operators.add((domain, name))
        if name == "QuantizeLinear":
            self._zero_points.add(inputs[2] if len(inputs) > 2 else "")
        elif name == "Constant":
            self.constant(span)

    def constant(self, span: Span | int) -> None:
        """Notes the tensor of a NodeProto that is a Constant."""
        output = self.text(self.first(span, 2))
        attribute = self.first(span, 5)
        if tensor := self.first(attribute, 5):  # AttributeProto.t
            self._stored.setdefault(output, tensor)

    def input(self, span: Span | int) -> OnnxInput:
        """Returns a ValueInfoProto."""
        tensor = self.first(self.first(span, 2), 1)  # TypeProto.tensor_type
        axes = [self.axis(value) for number, value in self.fields(self.first(tensor, 2)) if number == 1]
        return OnnxInput(self.text(self.first(span, 1)), self.whole(self.first(tensor, 1)), tuple(axes))

    def axis(self, span: Span | int) -> int | None:
        """Returns the length of a TensorShapeProto.Dimension; None where it is open."""
        value = self.whole(self.first(span, 1))
        return value if value > 0 else None

    def first(self, span: Span | int | None, number: int) -> Span | int | None:
        """Returns the first field of a number in a message; None where there is none."""
        return next((value for field_number, value in self.fields(span) if field_number == number), None)

    def fields(self, span: Span | int | None) -> Iterator[tuple[int, Span | int]]:
        """Yields the number and the value of each field of a message: a whole number, or where its bytes stand."""
        if not isinstance(span, tuple):
            return
        at, end = span
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise Malformed("too many fields")
            tag, at = self.varint(at, end)
            kind, value = tag & 7, 0
            if kind == VARINT:
                value, at = self.varint(at, end)
                yield tag >> 3, value
                continue
            if kind == LENGTH:
                size, at = self.varint(at, end)
            elif kind in (FIXED32, FIXED64):
                size = 4 if kind == FIXED32 else 8
            else:
                raise Malformed("a kind of field that protobuf has not")
            if at + size > end:
                raise Malformed("cut")
            yield tag >> 3, (at, at + size)
            at += size

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Returns a number that is written in groups of seven bits, and where the number ends."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise Malformed("cut")
            byte = self._content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise Malformed("an endless number")

    def text(self, span: Span | int | None) -> str:
        if not isinstance(span, tuple):
            return ""
        self._text_left -= span[1] - span[0]
        if span[1] - span[0] > LONGEST_TEXT or self._text_left < 0:
            raise Malformed("a text that is too long")
        return self._content[span[0] : span[1]].decode()

    @staticmethod
    def whole(value: Span | int | None) -> int:
        """Returns a whole number: of an int64, whose sign is its highest bit."""
        if not isinstance(value, int):
            return 0
        return value - (1 << 64) if value >= 1 << 63 else value
