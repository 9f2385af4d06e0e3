"""Looks through an ONNX file for tensors whose numbers lie in other files, with the standard library alone.

Whoever loads such a model reads files that the model names: of a stranger's model, any file. ONNX Runtime before 1.24
reads them from anywhere; later versions still read what lies below the working directory. So an artifact may have none.

An ONNX file is a protobuf message. This module walks it in its binary form, field by field, without building objects:
it follows each place of the format where a tensor may stand, also where a parser would merge or overwrite it, and skips
numbers by their length. It refuses files that are not well formed, and files that another reader could take for another
format.
"""

from __future__ import annotations

from edgecompile.errors import BundleError
from edgecompile.runtime.options import show_value

MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE, TRAINING, FUNCTION = range(8)
CHILDREN: tuple[dict[int, int], ...] = (
    {7: GRAPH, 20: TRAINING, 25: FUNCTION},
    {1: NODE, 5: TENSOR, 15: SPARSE},
    {5: ATTRIBUTE},
    {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE},
    {},
    {1: TENSOR, 2: TENSOR},
    {1: GRAPH, 2: GRAPH},
    {7: NODE, 11: ATTRIBUTE},
)
"""For each message of onnx.proto, in the order above: number of a field to the message that it holds, as far as a
tensor may lie in it."""
NAME, EXTERNAL_DATA, DATA_LOCATION = 8, 13, 14
"""Fields of a tensor."""
LOCATED, DEFAULT = (EXTERNAL_DATA, DATA_LOCATION), 0
"""Fields that state where its numbers lie, and the value of the second for numbers in the tensor itself."""
KEY, VALUE = 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_FIELDS = 4_000_000
"""Fields of a file: bounds the time. A model of 10,000 nodes has 300,000."""
OTHER_FORMATS = (b"ORTM", b"TFL3")
"""Marks at the fifth byte by which ONNX Runtime and OpenVINO recognise formats of their own."""
IR_VERSION_FIRST = b"\x08"


def require_self_contained(content: bytes, name: str) -> None:
    """Makes sure that a model names no file.

    Args:
        content: of the ONNX file.
        name: of the file, for the message.

    Raises:
        BundleError: a tensor's numbers lie in another file, or this is no well-formed ONNX file.
    """
    if not content.startswith(IR_VERSION_FIRST) or content[4:8] in OTHER_FORMATS:
        raise BundleError(f"cannot open the model: '{name}' is no ONNX file")
    try:
        external = _find_external(content)
    except (IndexError, ValueError) as error:
        raise BundleError(f"cannot open the model: '{name}' is no well-formed ONNX file ({error})") from None
    if external is not None:
        tensor, location = _described(content, *external)
        raise BundleError(
            f"'{name}' reads another file: the numbers of the tensor {tensor} lie in {location}",
            fix="a bundle's model holds all its numbers itself; build the bundle from the model and its data again",
        )


def _find_external(content: bytes) -> tuple[int, int] | None:
    """Returns where the first tensor with external data begins and ends; None where there is none."""
    left = MOST_FIELDS
    waiting = [(MODEL, 0, len(content))]
    while waiting:
        message, position, end = waiting.pop()
        begin, children = position, CHILDREN[message]
        while position < end:
            left -= 1
            if left < 0:
                raise ValueError(f"more than {MOST_FIELDS} fields")
            tag = content[position]
            position += 1
            if tag > 127:
                tag, position = _varint(content, position - 1)
            field, wire = tag >> 3, tag & 7
            if (
                message == TENSOR
                and field in LOCATED
                and not (field == DATA_LOCATION and wire == VARINT and _varint(content, position)[0] == DEFAULT)
            ):
                return begin, end
            if wire == BYTES:
                size, position = _varint(content, position)
                if field in children:
                    waiting.append((children[field], position, position + size))
                position += size
            elif field in children:
                raise ValueError(f"field {field} is of another kind")
            elif wire == VARINT:
                while content[position] > 127:
                    position += 1
                position += 1
            elif wire == FIXED32:
                position += 4
            elif wire == FIXED64:
                position += 8
            else:
                raise ValueError("a field of an unknown kind")
            if position > end or not field:
                raise ValueError("a field that is longer than its message")
    return None


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Returns the whole number at a position, and the position behind it."""
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 10 bytes")
    return value, position


def _described(content: bytes, begin: int, end: int) -> tuple[str, str]:
    """Returns the name of a tensor and where its numbers lie, for a message."""
    tensor, location = "", ""
    try:
        for field, value in fields(content, begin, end):
            if field == NAME:
                tensor = value.decode("utf-8", "replace")
            elif field == EXTERNAL_DATA:
                entry = dict(fields(value, 0, len(value)))
                if entry.get(KEY) == b"location":
                    location = entry.get(VALUE, b"").decode("utf-8", "replace")
    except (IndexError, ValueError):
        pass
    return show_value(tensor), show_value(location)


def fields(content: bytes, begin: int, end: int) -> list[tuple[int, bytes]]:
    """Returns number and content of the fields of a message that hold bytes."""
    fields, position = [], begin
    while position < end:
        tag, position = _varint(content, position)
        if tag & 7 == BYTES:
            size, position = _varint(content, position)
            fields.append((tag >> 3, content[position : position + size]))
            position += size
        elif tag & 7 == VARINT:
            _, position = _varint(content, position)
        else:
            position += {FIXED32: 4, FIXED64: 8}.get(tag & 7, end)
    return fields
