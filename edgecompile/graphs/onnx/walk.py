"""All that an ONNX model holds, wherever it stands."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from google.protobuf.message import Message


def nodes_within(message: Message) -> Iterator[onnx.NodeProto]:
    """Yields every node of a model, graph or function, those of nested graphs too."""
    return (part for part in messages_within(message) if isinstance(part, onnx.NodeProto))


def tensors_within(message: Message) -> Iterator[onnx.TensorProto]:
    """Yields every tensor of a model, graph or function: weights, attributes, sparse tensors, those of nested graphs,
    of functions and their default attributes, of training graphs, and of whatever ONNX may add to these."""
    return (part for part in messages_within(message) if isinstance(part, onnx.TensorProto))


def messages_within(message: Message) -> Iterator[Message]:
    """Yields a protobuf message and all that it holds, found by its descriptor; nothing within tensors."""
    waiting: list[Message] = [message]
    while waiting:
        message = waiting.pop()
        yield message
        if isinstance(message, onnx.TensorProto):
            continue
        for _, value in message.ListFields():
            if isinstance(value, Message):
                waiting.append(value)
            elif not isinstance(value, (str, bytes, int, float)):
                waiting.extend(part for part in value if isinstance(part, Message))
