"""Which channels of a graph may be scaled by a power of two each, without a change of what the graph puts out.

A channel of an activation is scaled where some layer makes it, and scaled back where layers read it. Between the two
stand operators that pass a positive factor on exactly (a ReLU, a pooling, a concatenation). The walk gives each output
channel of a learned layer a number, follows the numbers through these operators, and joins those that must share one
factor: the two summands of an addition. What any other operator reads may not be scaled, and the reason is kept.

After M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), for any
operators between, and for factors that change no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edgecompile.graphs.onnx.channels import UNSCALED, Channels, compact, same_rank, varies_only_along
from edgecompile.graphs.onnx.structure import Structure
from edgecompile.graphs.onnx.walk import nodes_within

SAME = frozenset({"Abs", "Identity", "LeakyRelu", "Neg", "Relu"})
"""Operators that pass a positive factor of each number on."""
SPATIAL = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "Pad", "Resize"})
"""Operators that pass a factor on which is one for all numbers that they put together."""
SIZES = frozenset({"Shape", "Size"})
"""Operators that read no numbers."""
TAKEN_INTO_SHAPE = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})


@dataclass(frozen=True)
class Layer:
    """A learned layer as an equalization sees it.

    Attributes:
        name: of the node.
        reads: name of the tensor that it reads.
        weights: largest magnitudes, float64, of two axes: as stored, without those of the kernel.
        inputs: number of the channel that each of them multiplies, of the same shape.
        places: place of that channel in what the layer reads.
        outputs: number of the channel that each of them adds to.
    """

    name: str
    reads: str
    weights: np.ndarray
    inputs: np.ndarray
    places: np.ndarray
    outputs: np.ndarray


@dataclass(frozen=True)
class Constant:
    """A constant that holds channels' factors.

    Attributes:
        node: position of the node that reads it, in the graph's order.
        position: which input of the node it is.
        times: numbers of the channels whose factor it is multiplied with, in a shape that broadcasts to it.
        over: the same of those by whose factor it is divided.
    """

    node: int
    position: int
    times: np.ndarray
    over: np.ndarray


class ChannelFlow:
    """The walk over a graph; see the module.

    Attributes:
        channels: all numbers.
        layers: learned layers, in the graph's order.
        constants: what a factor would be written into.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        """
        Args:
            model: a float graph whose inputs have known sizes.
        """
        self.channels = Channels()
        self.layers: list[Layer] = []
        self.constants: list[Constant] = []
        self._structure = Structure(model)
        self._shapes = _shapes(model)
        self._numbers: dict[str, np.ndarray] = {}
        for position, node in enumerate(self._structure.nodes):
            self._follow(position, node)
        for output in model.graph.output:
            self._forbid([output.name], "an output of the model")

    def _follow(self, position: int, node: onnx.NodeProto) -> None:
        reads = self._structure.inputs(node)
        if not reads or node.op_type in SIZES:
            return
        known = node.domain in ("", "ai.onnx")
        learned = known and self._structure.is_learned(node)
        rule = LAYERS.get(node.op_type) if learned else RULES.get(node.op_type) if known else None
        nested = [name for inner in nodes_within(node) if inner is not node for name in inner.input]
        self._forbid(nested, "a nested graph")
        if not learned and not any(name in self._numbers for name in reads):
            return  # nothing that a factor could come from: what it puts out has none
        outputs = None if rule is None or nested else rule(self, position, node)
        if outputs is None:
            self._forbid(reads, self._name_of(node))
        else:
            self._numbers.update(zip(node.output, outputs, strict=False))

    def numbers(self, name: str) -> np.ndarray:
        """Returns the numbers of a tensor's channels, in the shape of the tensor with 1 for each axis along which all
        are the same."""
        return self._numbers.get(name, np.full([1] * len(self._shapes.get(name, ())), UNSCALED))

    def _forbid(self, names: Iterable[str], reason: str) -> None:
        for name in names:
            if name in self._numbers:
                self.channels.forbid(self._numbers[name], reason)

    def _name_of(self, node: onnx.NodeProto) -> str:
        """Returns what a person calls an operator that passes no factor on."""
        if node.op_type in ("HardSigmoid", "Sigmoid"):
            readers = self._structure.consumers.get(node.output[0], [])
            if any(reader.op_type == "Mul" and node.input[0] in reader.input for reader in readers):
                return "SiLU" if node.op_type == "Sigmoid" else "HardSwish"
        return node.op_type

    def _float_constant(self, node: onnx.NodeProto, position: int) -> np.ndarray | None:
        """Returns the value of an input where it is a stored float32 constant."""
        if len(node.input) <= position or node.input[position] not in self._structure.constants:
            return None
        value = self._structure.value(node.input[position])
        return value if value.dtype == np.float32 else None

    def _whole_numbers(self, node: onnx.NodeProto, position: int, attribute: str) -> list[int] | None:
        """Returns what an operator takes as an attribute in old operator sets, as a constant input in new ones; None
        where it is neither."""
        if (stored := _attribute(node, attribute, None)) is not None:
            return [int(value) for value in stored]
        if len(node.input) <= position or node.input[position] not in self._structure.constants:
            return None
        return [int(value) for value in self._structure.value(node.input[position]).ravel()]

    # Learned layers: what they read and what they put out have factors of their own.

    def _layer(
        self, place: int, node: onnx.NodeProto, value: np.ndarray, places: np.ndarray, outputs: np.ndarray
    ) -> bool:
        """Notes a layer; False where its bias cannot be written.

        Args:
            value: its weights.
            places: place of the channel that each weight multiplies, in a shape that broadcasts to the weights.
            outputs: number of the channel that each weight adds to, likewise.
        """
        own = np.unique(outputs)
        if has_bias := len(node.input) > 2 and bool(node.input[2]):
            bias = self._float_constant(node, 2)
            if bias is None or bias.size not in (1, own.size) or (bias.ndim and bias.shape[-1] != bias.size):
                return False
        spatial = tuple(range(2, value.ndim))
        weights = np.abs(value.astype(np.float64)).max(axis=spatial) if spatial else np.abs(value.astype(np.float64))
        read = self.numbers(node.input[0]).reshape(-1)
        inputs = read[places] if read.size > 1 else np.full_like(places, read[0])
        flat = [np.broadcast_to(part, value.shape).reshape(*weights.shape, -1) for part in (inputs, places, outputs)]
        self.layers.append(Layer(node.name, node.input[0], weights, *(part[..., 0] for part in flat)))
        self.constants.append(Constant(place, 1, inputs, outputs))
        if has_bias:
            self.constants.append(Constant(place, 2, np.array(UNSCALED), own))
        return True

    def _convolution(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        value, read = self._float_constant(node, 1), self.numbers(node.input[0])
        if value is None or not varies_only_along(read, 1):
            return None
        group, transposed = _attribute(node, "group", 1), node.op_type == "ConvTranspose"
        made = self.channels.new(value.shape[1] * group if transposed else value.shape[0])
        count = value.shape[0] if transposed else value.shape[1] * group
        places = np.arange(count)
        tail = [1] * (value.ndim - 2)
        if transposed:  # weights are (inputs, outputs of a group, ...)
            columns = made.reshape(group, 1, -1).repeat(count // group, axis=1).reshape(count, -1)
            places, outputs = places.reshape(-1, 1, *tail), columns.reshape(*columns.shape, *tail)
        else:
            rows = places.reshape(group, 1, -1).repeat(len(made) // group, axis=1).reshape(len(made), -1)
            places, outputs = rows.reshape(*rows.shape, *tail), made.reshape(-1, 1, *tail)
        if not self._layer(place, node, value, places, outputs):
            return None
        return [made.reshape(1, -1, *tail)]

    def _product(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        value, read = self._float_constant(node, 1), self.numbers(node.input[0])
        if value is None or value.ndim != 2 or not read.ndim or not varies_only_along(read, read.ndim - 1):
            return None
        gemm = node.op_type == "Gemm"
        if gemm and _attribute(node, "transA", 0):
            return None
        turned = gemm and _attribute(node, "transB", 0)
        inputs, outputs = value.shape[::-1] if turned else value.shape
        made, places = self.channels.new(outputs), np.arange(inputs)
        pair = (places[None, :], made[:, None]) if turned else (places[:, None], made[None, :])
        if not self._layer(place, node, value, *pair):
            return None
        return [made.reshape(*[1] * (read.ndim - 1), -1)]

    # Operators that pass factors on.

    def _same(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        return [self.numbers(node.input[0])]

    def _slope(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        return [self.numbers(node.input[0])] if node.input[1] in self._structure.fixed else None

    def _clip(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        """A limit of zero is a ReLU; any other does not scale."""
        for position, attribute in ((1, "min"), (2, "max")):
            limit = _attribute(node, attribute, None)
            if len(node.input) > position and node.input[position]:
                value = self._float_constant(node, position)
                limit = np.nan if value is None else float(value)
            if limit is not None and limit != 0 and abs(limit) < np.finfo(np.float32).max:
                return None
            if limit is not None and np.isnan(limit):
                return None
        return [self.numbers(node.input[0])]

    def _spatial(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        read, (before, after) = self.numbers(node.input[0]), self._sizes(node)
        if _attribute(node, "coordinate_transformation_mode", b"") == b"tf_crop_and_resize":  # fills with a constant
            return None
        if node.op_type == "Pad" and len(node.input) > 2 and node.input[2]:
            filler = self._float_constant(node, 2)
            if filler is None or filler.any():
                return None
        if node.op_type == "Pad" and _attribute(node, "value", 0.0):
            return None
        if node.op_type == "MaxPool" and len(node.output) > 1:
            return None
        kept = before and after and all(
            size == 1 or old == new for size, old, new in zip(read.shape, before, after, strict=True)
        )  # fmt: skip
        pooled = "Pool" in node.op_type and any(size > 1 for size in read.shape[2:])
        return [read] if kept and not pooled else None

    def _reshaped(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        before, after = self._sizes(node)
        if before is None or after is None or np.prod(before) != np.prod(after):
            return None
        return [compact(np.broadcast_to(self.numbers(node.input[0]), before).reshape(after))]

    def _transposed(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        return [self.numbers(node.input[0]).transpose(_attribute(node, "perm", None))]

    def _reduced(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        read, axes = self.numbers(node.input[0]), self._whole_numbers(node, 1, "axes")
        axes = list(range(read.ndim)) if axes is None and len(node.input) < 2 else axes
        if axes is None or any(read.shape[axis] > 1 for axis in axes):
            return None
        return [read if _attribute(node, "keepdims", 1) else read.squeeze(tuple(axes))]

    def _split(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        read, axis = self.numbers(node.input[0]), _attribute(node, "axis", 0)
        shapes = [self._shapes.get(name) for name in node.output]
        if read.shape[axis] == 1:
            return [read] * len(shapes)
        if not all(shapes):
            return None
        ends = np.cumsum([shape[axis] for shape in shapes if shape])
        return [compact(part) for part in np.split(read, ends[:-1], axis=axis)]

    def _sliced(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        read = self.numbers(node.input[0])
        starts, ends = self._whole_numbers(node, 1, "starts"), self._whole_numbers(node, 2, "ends")
        if starts is None or ends is None:
            return None
        axes = self._whole_numbers(node, 3, "axes")
        steps = self._whole_numbers(node, 4, "steps")
        if (axes is None and len(node.input) > 3 and node.input[3]) or (
            steps is None and len(node.input) > 4 and node.input[4]
        ):
            return None
        cut = [slice(None)] * read.ndim
        for start, end, axis, step in zip(
            starts, ends, axes or range(len(starts)), steps or [1] * len(starts), strict=True
        ):
            if step < 0 and read.shape[axis] > 1:
                return None
            cut[axis] = slice(None) if read.shape[axis] == 1 else slice(start, end, step)
        return [compact(read[tuple(cut)])]

    def _joined(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        shapes = [self._shapes.get(name) for name in node.input]
        if not all(shapes):
            return None
        parts = [self.numbers(name) for name in node.input]
        axis = _attribute(node, "axis", 0) % parts[0].ndim
        if all(part.shape[axis] == 1 and not part.any() for part in parts):
            return [parts[0]]
        sizes = [shape[axis] for shape in shapes if shape]
        others = np.broadcast_shapes(*[(*part.shape[:axis], 1, *part.shape[axis + 1 :]) for part in parts])
        full = [
            np.broadcast_to(part, (*others[:axis], size, *others[axis + 1 :]))
            for part, size in zip(parts, sizes, strict=True)
        ]
        return [compact(np.concatenate(full, axis=axis))]

    def _added(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        reads = self._structure.inputs(node)
        joined = self.numbers(reads[0])
        for name in reads[1:]:
            joined = self.channels.join(*same_rank(joined, self.numbers(name)))
        fixed = [position for position, name in enumerate(node.input) if name in self._structure.fixed]
        values = [self._float_constant(node, position) for position in fixed]
        if any(value is None for value in values):
            return None
        for position, value in zip(fixed, values, strict=True):
            assert value is not None
            numbers, _ = same_rank(joined, np.broadcast_to(UNSCALED, value.shape))
            joined = numbers
            self.constants.append(Constant(place, position, np.array(UNSCALED), numbers))
        return [joined]

    def _multiplied(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        """A factor passes through one side; the other must be without. A constant that divides is no factor."""
        reads = self._structure.inputs(node)
        if node.op_type == "Div" and node.input[1] in reads and not self._is_unscaled(node.input[1]):
            return None
        scaled = [name for name in reads if not self._is_unscaled(name)]
        if len(scaled) > 1:
            return None
        read = self.numbers(scaled[0] if scaled else reads[0])
        shape = self._shapes.get(node.output[0])
        return None if shape is None else [same_rank(read, np.zeros([1] * len(shape), int))[0]]

    def _attended(self, place: int, node: onnx.NodeProto) -> list[np.ndarray] | None:
        """The product of two activations passes factors on along the rows of its first, or the columns of its second,
        where the other has none."""
        one, other = self.numbers(node.input[0]), self.numbers(node.input[1])
        if one.ndim != other.ndim or one.ndim < 2:
            return None
        if self._is_unscaled(node.input[1]) and one.shape[-1] == 1:
            return [one]
        if self._is_unscaled(node.input[0]) and other.shape[-2] == 1:
            return [other]
        return None

    def _is_unscaled(self, name: str) -> bool:
        return self.channels.none_scaled(self.numbers(name))

    def _sizes(self, node: onnx.NodeProto) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
        return self._shapes.get(node.input[0]), self._shapes.get(node.output[0])


Rule = Callable[[ChannelFlow, int, onnx.NodeProto], "list[np.ndarray] | None"]
"""Returns the numbers of a node's outputs; None where the operator, as it stands there, passes no factor on."""

LAYERS: dict[str, Rule] = {
    "Conv": ChannelFlow._convolution,
    "ConvTranspose": ChannelFlow._convolution,
    "Gemm": ChannelFlow._product,
    "MatMul": ChannelFlow._product,
}
RULES: dict[str, Rule] = {
    **dict.fromkeys(SAME, ChannelFlow._same),
    **dict.fromkeys(SPATIAL, ChannelFlow._spatial),
    **dict.fromkeys(TAKEN_INTO_SHAPE, ChannelFlow._reshaped),
    **dict.fromkeys(REDUCTIONS, ChannelFlow._reduced),
    **dict.fromkeys(("Add", "Max", "Min", "Sub", "Sum"), ChannelFlow._added),
    **dict.fromkeys(("Div", "Mul"), ChannelFlow._multiplied),
    "Clip": ChannelFlow._clip,
    "Concat": ChannelFlow._joined,
    "MatMul": ChannelFlow._attended,
    "PRelu": ChannelFlow._slope,
    "Slice": ChannelFlow._sliced,
    "Split": ChannelFlow._split,
    "Transpose": ChannelFlow._transposed,
}


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all tensors whose sizes are known."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for info in (*inferred.input, *inferred.value_info, *inferred.output):
        sides = info.type.tensor_type.shape.dim
        if info.type.tensor_type.HasField("shape") and all(side.HasField("dim_value") for side in sides):
            shapes[info.name] = tuple(side.dim_value for side in sides)
    return shapes


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    stored = next((attribute for attribute in node.attribute if attribute.name == name), None)
    return default if stored is None else onnx.helper.get_attribute_value(stored)
