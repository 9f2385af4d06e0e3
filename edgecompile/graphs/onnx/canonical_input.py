"""Gives a foreign model the input that every pass and target knows: float32 (n, channels, h, w), scaled to 0..1, RGB.

What the model wants otherwise (order of colours, scale, mean, layout, type) becomes nodes of its graph, or goes into
the weights of its first convolution where that changes nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.layouts._nodes import Builder
from edgecompile.graphs.onnx.picture_input import COLOR_CHANNELS, PictureForm
from edgecompile.graphs.onnx.stated import StatedInput
from edgecompile.graphs.onnx.structure import Structure
from edgecompile.graphs.onnx.walk import nodes_within

WHITE = 255.0
ORDERS = {"BGR": [2, 1, 0], "RGBA": [2, 1, 0, 3]}
"""Order of the model's channels to where they stand in the canonical order: RGB, and BGRA as OpenCV reads four."""


@dataclass(frozen=True)
class Arithmetic:
    """What a model wants of the canonical picture x: x[order] * factor - offset, by channel.

    Attributes:
        order: of the channels; None for as they are.
        factor, offset: float64 (channels,).
    """

    order: list[int] | None
    factor: np.ndarray
    offset: np.ndarray

    @property
    def is_nothing(self) -> bool:
        return self.order is None and np.allclose(self.factor, 1, rtol=1e-6, atol=0) and not self.offset.any()


def arithmetic_of(statement: StatedInput, channels: int) -> Arithmetic:
    """Returns what a statement means for canonical pictures.

    Raises:
        StepError: it is of another number of channels.
    """
    color = statement.get("color")
    if color is not None and COLOR_CHANNELS[color] != channels:
        said = f"passes.onnx_import.input.color is {color}, and the model takes {channels} channels"
        raise StepError(
            said, fix=f"one of {', '.join(key for key, count in COLOR_CHANNELS.items() if count == channels)}"
        )
    values = {}
    for key, usual in (("mean", 0.0), ("std", 1.0)):
        given = np.atleast_1d(np.asarray(statement.get(key, usual), np.float64))
        if given.size not in (1, channels):
            raise StepError(
                f"passes.onnx_import.input.{key} has {given.size} numbers, and the model {channels} channels"
            )
        values[key] = np.broadcast_to(given, channels)
    scale = statement.get("scale", 1 / WHITE)
    return Arithmetic(ORDERS.get(color or ""), WHITE * scale / values["std"], values["mean"] / values["std"])


def take_canonical(model: onnx.ModelProto, form: PictureForm, statement: StatedInput) -> list[str]:
    """Changes the model's only input, in place, to float32 (n, channels, h, w), 0..1. Returns what was changed.

    Raises:
        StepError: the statement does not fit the model.
    """
    entry = model.graph.input[0]
    arithmetic = arithmetic_of(statement, form.channels)
    name = entry.name
    readers = [node for node in _all_nodes(model) if name in node.input]
    changes = []
    plain = form.layout == "NCHW" and form.dtype == "float32"
    if plain and not arithmetic.offset.any() and _folded(model, name, arithmetic):
        changes.append("scale and order of colours of the input go into the first convolution")
    elif not arithmetic.is_nothing or not plain:
        builder = Builder(model, f"{name}_as_stated")
        wanted = _nodes(builder, name, form, arithmetic, readers)
        for reader in readers:
            reader.input[:] = [wanted if source == name else source for source in reader.input]
        _drop_byte_casts(model, readers, wanted, form)
        for position, node in enumerate(builder.nodes):
            model.graph.node.insert(position, node)
        kinds = ", ".join(node.op_type for node in builder.nodes) or "nothing"
        changes.append(f"the input takes float32 NCHW 0..1; {kinds} bring it to what the model wants")
    batch, channels, height, width = _sides(entry, form)
    sides = [batch or "batch", channels or form.channels, height or "height", width or "width"]
    entry.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, sides))
    return changes


def _sides(entry: onnx.ValueInfoProto, form: PictureForm) -> list[int | str | None]:
    sides = [
        axis.dim_value if axis.dim_value > 0 else axis.dim_param or None for axis in entry.type.tensor_type.shape.dim
    ]
    return [sides[axis] for axis in ((0, 1, 2, 3) if form.layout == "NCHW" else (0, 3, 1, 2))]


def _nodes(builder: Builder, name: str, form: PictureForm, arithmetic: Arithmetic, readers: Sequence[Any]) -> str:
    """Adds what brings canonical pictures to those that the model wants; returns the name of the result."""
    value, shape = name, (1, -1, 1, 1)
    if arithmetic.order is not None:
        value = builder.one("Gather", value, builder.constant(arithmetic.order), axis=1)
    if not np.allclose(arithmetic.factor, 1, rtol=1e-6, atol=0):
        value = builder.one("Mul", value, builder.numbers(arithmetic.factor.reshape(shape)))
    if arithmetic.offset.any():
        value = builder.one("Sub", value, builder.numbers(arithmetic.offset.reshape(shape)))
    if form.layout == "NHWC":
        value = builder.one("Transpose", value, perm=[0, 2, 3, 1])
    if form.dtype == "float16":
        return builder.one("Cast", value, to=TensorProto.FLOAT16)
    if form.dtype == "uint8" and not _only_casts(readers):
        rounded = builder.one("Floor", builder.one("Add", value, builder.numbers(0.5)))
        return builder.one("Cast", rounded, to=TensorProto.UINT8)
    return value


def _only_casts(readers: Sequence[Any]) -> bool:
    """Whether bytes are made float32 before anything else."""
    casts = [node for node in readers if node.op_type == "Cast" and _attribute(node, "to") == TensorProto.FLOAT]
    return len(casts) == len(readers)


def _drop_byte_casts(model: onnx.ModelProto, readers: Sequence[Any], wanted: str, form: PictureForm) -> None:
    """Takes out, in place, the casts of bytes that are float32 already."""
    if form.dtype != "uint8" or not _only_casts(readers):
        return
    for reader in readers:
        output = reader.output[0]
        for node in _all_nodes(model):
            node.input[:] = [wanted if source == output else source for source in node.input]
        if reader in model.graph.node and output not in {value.name for value in model.graph.output}:
            model.graph.node.remove(reader)


def _folded(model: onnx.ModelProto, name: str, arithmetic: Arithmetic) -> bool:
    """Writes order and factors into the first convolutions, in place; returns whether that could be done, and was
    needed.

    The border of a convolution is 0, and so it is before and after; with a mean it would not be.
    """
    structure = Structure(model)
    readers = structure.consumers.get(name, [])
    if arithmetic.is_nothing or len(readers) != sum(name in node.input for node in _all_nodes(model)):
        return False
    weights = []
    for node in readers:
        stored = node.input[1] if node.op_type == "Conv" else ""
        shared = stored and len(structure.consumers[stored]) > 1
        if stored not in structure.initializers or shared or _attribute(node, "group") not in (None, 1):
            return False
        if structure.initializers[stored].data_type != TensorProto.FLOAT:
            return False
        weights.append(structure.initializers[stored])
    for tensor in weights:
        value = numpy_helper.to_array(tensor).astype(np.float64) * arithmetic.factor.reshape(
            1, -1, *[1] * (len(tensor.dims) - 2)
        )
        if arithmetic.order is not None:
            value = value[:, np.argsort(arithmetic.order)]
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), tensor.name))
    return bool(weights)


def _all_nodes(model: onnx.ModelProto) -> list[Any]:
    """Returns the nodes of the graph and of the graphs within them."""
    return list(nodes_within(model.graph))


def _attribute(node: Any, name: str) -> Any:
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), None)
