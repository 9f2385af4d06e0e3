"""What an ONNX file says of itself: its inputs, its metadata, its operator sets. Parses no tensor.

An ONNX file is one protobuf message. Its fields are walked here by their lengths, so that gigabytes of weights are
stepped over, and no library has to be imported. What is cut, or has more fields than any model, is not described.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MOST_FIELDS = 1_000_000
"""Most fields of messages that are walked: a second of work. YOLO11n has 1,100."""
LONGEST_TEXT = 1 << 20
"""Most bytes of a name or of a value of the metadata that are read."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Kinds of values on protobuf's wire."""
FLOAT = 1
"""Number of the element type float32."""

Span = tuple[int, int]


@dataclass(frozen=True)
class OnnxInput:
    """An input of a graph: its name, the number of its element type, and its shape, None where an axis is open."""

    name: str
    element_type: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class OnnxHeader:
    """What an ONNX file says of itself.

    Attributes:
        inputs: of the graph, without those that weights stand in for.
        metadata: key to value.
        operator_sets: domain ("" for ONNX's own) to version.
    """

    inputs: tuple[OnnxInput, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    operator_sets: dict[str, int] = field(default_factory=dict)


class Malformed(ValueError):
    """The file is cut, or is no protobuf message."""


def read_header(path: Path) -> OnnxHeader | None:
    """Returns what an ONNX file says of itself, or None where it is no ONNX file that can be walked.

    Args:
        path: any file.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Walk(content).header()
    except (OSError, ValueError, UnicodeDecodeError):  # ValueError: an empty file, or one that is malformed
        return None


class _Walk:
    """Walks the fields of messages, up to a number of them."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._left = MOST_FIELDS

    def header(self) -> OnnxHeader:
        metadata: dict[str, str] = {}
        operator_sets: dict[str, int] = {}
        inputs: list[OnnxInput] = []
        weights: set[str] = set()
        graphs = 0
        for number, value in self.fields((0, len(self._content))):
            if number == 7 and isinstance(value, tuple):  # ModelProto.graph
                graphs += 1
                for inner, span in self.fields(value):
                    if inner == 11:  # GraphProto.input
                        inputs.append(self.input(span))
                    elif inner == 5:  # GraphProto.initializer
                        weights.add(self.text(self.first(span, 8)))
            elif number == 8:  # ModelProto.opset_import
                operator_sets[self.text(self.first(value, 1))] = self.whole(self.first(value, 2))
            elif number == 14:  # ModelProto.metadata_props
                metadata[self.text(self.first(value, 1))] = self.text(self.first(value, 2))
        if graphs != 1:
            raise Malformed("no graph")
        return OnnxHeader(tuple(one for one in inputs if one.name not in weights), metadata, operator_sets)

    def input(self, span: Span | int) -> OnnxInput:
        """Returns a ValueInfoProto."""
        tensor = self.first(self.first(span, 2), 1)  # TypeProto.tensor_type
        axes = [self.axis(value) for number, value in self.fields(self.first(tensor, 2)) if number == 1]
        return OnnxInput(self.text(self.first(span, 1)), self.whole(self.first(tensor, 1)), tuple(axes))

    def axis(self, span: Span | int) -> int | None:
        """Returns the length of a TensorShapeProto.Dimension; None where it is open."""
        value = self.whole(self.first(span, 1))
        return value if value > 0 else None

    def first(self, span: Span | int | None, wanted: int) -> Span | int | None:
        """Returns the first field of a number in a message; None where there is none."""
        return next((value for number, value in self.fields(span) if number == wanted), None)

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
        """Returns a number that is written in groups of seven bits, and where it ends."""
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
        if span[1] - span[0] > LONGEST_TEXT:
            raise Malformed("a text that is too long")
        return self._content[span[0] : span[1]].decode()

    @staticmethod
    def whole(value: Span | int | None) -> int:
        """Returns a whole number: of an int64, whose sign is its highest bit."""
        if not isinstance(value, int):
            return 0
        return value - (1 << 64) if value >= 1 << 63 else value
