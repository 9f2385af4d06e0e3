"""How each operator of ONNX becomes operators of LiteRT: one function a kind, found in `HANDLERS`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edgecompile.errors import StepError
from edgecompile.graphs.litert.flatbuffer import Quant, data_type
from edgecompile.graphs.litert.layers import average_pool, convolution, deconvolution, gemm, max_pool
from edgecompile.graphs.litert.lowering import Lowering
from edgecompile.graphs.litert.values import Node, Value

UNIT = Quant((1 / 256,), (-128,))
"""What LiteRT's INT8 kernels of sigmoid and softmax put out: 0 to 1 in 256 steps."""


def _first(low: Lowering, node: Node) -> Value:
    return low.value(node.inputs[0], int8=node.int8)


def _each_number(kind: str, quant: Quant | None = None, options: str = "") -> Callable[[Lowering, Node], None]:
    """Returns the lowering of an operator that treats each number by itself."""

    def lower(low: Lowering, node: Node) -> None:
        value = _first(low, node)
        low.result(node, kind, [value], value.order, quant=quant, options=options)

    return lower


def _same_numbers(kind: str) -> Callable[[Lowering, Node], None]:
    """Returns the lowering of an operator of one input whose INT8 kernel keeps the scale."""

    def lower(low: Lowering, node: Node) -> None:
        value = _first(low, node)
        low.result(node, kind, [value], value.order, quant=value.quant)

    return lower


def _binary(kind: str, options: str = "") -> Callable[[Lowering, Node], None]:
    """Returns the lowering of an operator of two inputs that are broadcast; further ones are taken in turn."""

    def lower(low: Lowering, node: Node) -> None:
        rank = len(low.shape(node.outputs[0]))
        computed = [low.value(name, int8=node.int8) for name in node.inputs if not low.is_fixed(name)]
        lead = max(computed, key=lambda value: (len(value.shape), math.prod(value.shape)))
        order = lead.order if len(lead.shape) == rank else tuple(range(rank))
        operands = [low.operand(name, rank, order, int8=node.int8) for name in node.inputs]
        left = operands[0]
        for right in operands[1:-1]:
            shape = np.broadcast_shapes(left.shape, right.shape)
            left = low.made(kind, [left, right], order, shape, left.dtype, options=options)
        low.result(node, kind, [left, operands[-1]], order, options=options)

    return lower


def _concat(low: Lowering, node: Node) -> None:
    rank = len(low.shape(node.outputs[0]))
    computed = [low.value(name, int8=node.int8) for name in node.inputs if not low.is_fixed(name)]
    order = computed[0].order
    parts = [low.operand(name, rank, order, int8=node.int8) for name in node.inputs]
    if node.int8:
        parts = [low.requantized(part, low.scale_of(node)) for part in parts]
    axis = order.index(node.attributes["axis"] % rank)
    low.result(node, "CONCATENATION", parts, order, options="ConcatenationOptions", fields={"axis": axis})


def _split(low: Lowering, node: Node) -> None:
    value = _first(low, node)
    rank = len(value.shape)
    logical = node.attributes.get("axis", 0) % rank
    axis = value.order.index(logical)
    sizes = [low.shape(name)[logical] for name in node.outputs]
    begin = 0
    for output, size in enumerate(sizes):
        _cut(low, node, value, {axis: (begin, size)}, output)
        begin += size


def _cut(low: Lowering, node: Node, value: Value, cuts: dict[int, tuple[int, int]], output: int = 0) -> None:
    """Adds the piece of a tensor that begins and is as long as said for some of LiteRT's axes."""
    begins = np.array([cuts.get(axis, (0, 0))[0] for axis in range(len(value.shape))], np.int32)
    sizes = np.array([cuts.get(axis, (0, side))[1] for axis, side in enumerate(value.laid_out)], np.int32)
    words: list[Value | int] = [value, low.constant(begins), low.constant(sizes)]
    low.result(node, "SLICE", words, value.order, quant=value.quant, output=output, options="SliceOptions")


def _slice(low: Lowering, node: Node) -> None:
    value = _first(low, node)
    starts, ends = (low.number(name).reshape(-1).tolist() for name in node.inputs[1:3])
    rank = len(value.shape)
    named = [low.number(name).reshape(-1).tolist() if name else None for name in (*node.inputs[3:], "", "")[:2]]
    axes = [axis % rank for axis in named[0] or range(len(starts))]
    steps = named[1] or [1] * len(starts)
    spans = {
        axis: range(value.shape[axis])[start:end:step]
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    }
    if all(step == 1 for step in steps):
        _cut(low, node, value, {value.order.index(axis): (span.start, len(span)) for axis, span in spans.items()})
        return
    if any(step < 1 for step in steps):
        raise StepError(f"'{node.name[:60]}' takes a tensor backwards, which is not written for LiteRT")
    laid_out = [spans.get(axis, range(value.shape[axis])) for axis in value.order]
    parts = [[span.start for span in laid_out], [span.stop for span in laid_out], [span.step for span in laid_out]]
    words: list[Value | int] = [value, *(low.constant(np.array(part, np.int32)) for part in parts)]
    low.result(node, "STRIDED_SLICE", words, value.order, quant=value.quant, options="StridedSliceOptions")


def _reshape(low: Lowering, node: Node) -> None:
    """Lowers whatever gives the numbers of a tensor, in ONNX's order, another shape."""
    value = _first(low, node)
    plain = low.arranged(value, range(len(value.shape)))
    low.give(node, low.reshaped(plain, low.shape(node.outputs[0])))


def _transpose(low: Lowering, node: Node) -> None:
    value = _first(low, node)
    moved = node.attributes.get("perm", list(range(len(value.shape)))[::-1])
    low.alias(node, value, [list(moved).index(axis) for axis in value.order])


def _identity(low: Lowering, node: Node) -> None:
    value = _first(low, node)
    low.alias(node, value, value.order)


def _softmax(low: Lowering, node: Node) -> None:
    value = _first(low, node)
    axis = node.attributes.get("axis", -1) % len(value.shape)
    if value.order[-1] != axis:
        value = low.arranged(value, [*(one for one in value.order if one != axis), axis])
    low.result(node, "SOFTMAX", [value], value.order, quant=UNIT, options="SoftmaxOptions", fields={"beta": 1.0})


def _matmul(low: Lowering, node: Node) -> None:
    if low.is_fixed(node.inputs[1]) and low.number(node.inputs[1]).ndim == 2:
        gemm(low, node)
        return
    rank = len(low.shape(node.outputs[0]))
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    operands, flags = [], []
    for name in node.inputs:
        held = None if low.is_fixed(name) else low.value(name, int8=False)
        flags.append(held is not None and held.order == swapped)
        operands.append(low.operand(name, rank, swapped if flags[-1] else range(rank), int8=False))
    fields = {"adjX": flags[0], "adjY": flags[1]}
    low.result(node, "BATCH_MATMUL", operands, range(rank), options="BatchMatMulOptions", fields=fields)


def _resize(low: Lowering, node: Node) -> None:
    value = low.arranged(_first(low, node), (0, 2, 3, 1))
    shape = low.shape(node.outputs[0])
    mode, placed = (
        _word(node, key, usual)
        for key, usual in (("mode", "nearest"), ("coordinate_transformation_mode", "half_pixel"))
    )
    if mode not in ("nearest", "linear") or shape[:2] != value.shape[:2]:
        raise StepError(f"'{node.name[:60]}' resizes by '{mode}', LiteRT by nearest or linear")
    whole = all(new % old == 0 for new, old in zip(shape[2:], value.shape[2:], strict=True))
    # enlarged by whole numbers, the nearest are repetitions, wherever pixels are said to lie
    half = placed in ("half_pixel", "pytorch_half_pixel") and (mode == "linear" or not whole)
    kind, options = {
        "nearest": ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
        "linear": ("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    }[mode]
    sides = low.constant(np.array(shape[2:], np.int32))
    flags = {"alignCorners": placed == "align_corners", "halfPixelCenters": half}
    low.result(node, kind, [value, sides], value.order, quant=value.quant, options=options, fields=flags)


def _word(node: Node, key: str, usual: str) -> str:
    found = node.attributes.get(key, usual)
    return found.decode() if isinstance(found, bytes) else found


def _clip(low: Lowering, node: Node) -> None:
    value = _first(low, node)
    limits = [low.number(name).item() if name else None for name in (*node.inputs[1:], "", "")[:2]]
    least, most = (
        limit if limit is not None else bound for limit, bound in zip(limits, (-math.inf, math.inf), strict=True)
    )
    if (least, most) in ((0, 6), (0, math.inf)):
        low.result(node, "RELU6" if most == 6 else "RELU", [value], value.order)
        return
    for kind, limit in (("MAXIMUM", least), ("MINIMUM", most)):
        if math.isfinite(limit):
            bound = low.constant(np.array(limit, np.float32))
            options = "MaximumMinimumOptions"
            value = low.made(kind, [value, bound], value.order, value.shape, np.float32, options=options)
    low.give(node, value)


def _hard_sigmoid(low: Lowering, node: Node) -> None:
    value = _first(low, node)
    slope, offset = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    for kind, number, options in (
        ("MUL", slope, "MulOptions"),
        ("ADD", offset, "AddOptions"),
        ("MAXIMUM", 0, "MaximumMinimumOptions"),
        ("MINIMUM", 1, "MaximumMinimumOptions"),
    ):
        bound = low.constant(np.array(number, np.float32))
        value = low.made(kind, [value, bound], value.order, value.shape, np.float32, options=options)
    low.give(node, value)


def _leaky_relu(low: Lowering, node: Node) -> None:
    value = _first(low, node)
    slope = node.attributes.get("alpha", 0.01)
    low.result(node, "LEAKY_RELU", [value], value.order, options="LeakyReluOptions", fields={"alpha": slope})


def _prelu(low: Lowering, node: Node) -> None:
    value = low.arranged(_first(low, node), (0, 2, 3, 1))
    slope = low.number(node.inputs[1]).reshape(1, 1, -1)
    low.result(node, "PRELU", [value, low.constant(slope)], value.order)


def _softplus(low: Lowering, node: Node) -> None:
    """Lowers log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    value = _first(low, node)

    def step(kind: str, *inputs: Value | int, options: str = "") -> Value:
        return low.made(kind, inputs, value.order, value.shape, np.float32, options=options)

    one = low.constant(np.array(1, np.float32))
    raised = step("EXP", step("NEG", step("ABS", value)))
    rest = step("LOG", step("ADD", raised, one, options="AddOptions"))
    low.result(node, "ADD", [step("RELU", value), rest], value.order, options="AddOptions")


def _reduce(kind: str) -> Callable[[Lowering, Node], None]:
    def lower(low: Lowering, node: Node) -> None:
        value = _first(low, node)
        rank = len(value.shape)
        if node.kind.startswith("Global"):
            axes: Sequence[int] = range(2, rank)
        elif len(node.inputs) > 1 and node.inputs[1]:
            axes = low.number(node.inputs[1]).tolist()
        else:
            axes = node.attributes.get("axes", range(rank))
        reduced = sorted(axis % rank for axis in axes)
        kept = bool(node.attributes.get("keepdims", 1))
        if not kept:
            value = low.arranged(value, range(rank))
        places = low.constant(np.array([value.order.index(axis) for axis in reduced], np.int32))
        order = value.order if kept else range(rank - len(reduced))
        low.result(node, kind, [value, places], order, options="ReducerOptions", fields={"keepDims": kept})

    return lower


def _gather(low: Lowering, node: Node) -> None:
    value = _first(low, node)
    indices = low.number(node.inputs[1])
    rank = len(value.shape)
    axis = node.attributes.get("axis", 0) % rank
    if indices.ndim != 1:
        value = low.arranged(value, range(rank))
    order = value.order if indices.ndim == 1 else range(len(low.shape(node.outputs[0])))
    chosen = low.constant(np.where(indices < 0, indices + value.shape[axis], indices).astype(np.int32))
    place = value.order.index(axis)
    if value.dtype == np.uint8:  # bytes of the picture, in another order of channels
        made = low.made(
            "GATHER",
            [value, chosen],
            order,
            low.shape(node.outputs[0]),
            np.uint8,
            options="GatherOptions",
            fields={"axis": place},
        )
        low.alias(node, made, made.order)
        return
    low.result(
        node, "GATHER", [value, chosen], order, quant=value.quant, options="GatherOptions", fields={"axis": place}
    )


def _cast(low: Lowering, node: Node) -> None:
    value = _first(low, node)
    if node.attributes["to"] != 1:
        raise StepError(f"'{node.name[:60]}' makes other numbers than floats, which is not written for LiteRT")
    if value.dtype == np.float32:
        low.alias(node, value, value.order)
        return
    types = {"inDataType": data_type(value.dtype), "outDataType": data_type(np.float32)}
    low.result(node, "CAST", [value], value.order, options="CastOptions", fields=types)


def _pad(low: Lowering, node: Node) -> None:
    value = _first(low, node)
    mode = _word(node, "mode", "constant")
    rank = len(value.shape)
    sides = low.number(node.inputs[1]).reshape(2, -1)
    if len(node.inputs) > 3 and node.inputs[3]:
        raise StepError(f"'{node.name[:60]}' pads named axes, which is not written for LiteRT")
    fill = low.number(node.inputs[2]).item() if len(node.inputs) > 2 and node.inputs[2] else 0.0
    laid_out = low.constant(np.array([[sides[0][axis], sides[1][axis]] for axis in value.order], np.int32))
    if mode == "reflect":
        low.result(node, "MIRROR_PAD", [value, laid_out], value.order, quant=value.quant, options="MirrorPadOptions")
    elif mode == "constant" and fill == 0:
        low.result(node, "PAD", [value, laid_out], value.order, quant=value.quant, options="PadOptions")
    elif mode == "constant" and not node.int8:
        words: list[Value | int] = [value, laid_out, low.constant(np.array([fill], np.float32))]
        low.result(node, "PADV2", words, value.order, options="PadV2Options")
    else:
        raise StepError(f"'{node.name[:60]}' pads by '{mode}' over {rank} axes, which is not written for LiteRT")


HANDLERS: dict[str, Callable[[Lowering, Node], None]] = {
    "Abs": _each_number("ABS"),
    "Add": _binary("ADD", "AddOptions"),
    "AveragePool": average_pool,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": convolution,
    "ConvTranspose": deconvolution,
    "Cos": _each_number("COS"),
    "Div": _binary("DIV", "DivOptions"),
    "Dropout": _identity,
    "Elu": _each_number("ELU"),
    "Exp": _each_number("EXP"),
    "Flatten": _reshape,
    "Floor": _each_number("FLOOR"),
    "Gather": _gather,
    "Gelu": _each_number("GELU", options="GeluOptions"),
    "Gemm": gemm,
    "GlobalAveragePool": _reduce("MEAN"),
    "GlobalMaxPool": _reduce("REDUCE_MAX"),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _each_number("HARD_SWISH"),
    "Identity": _identity,
    "LeakyRelu": _leaky_relu,
    "Log": _each_number("LOG"),
    "MatMul": _matmul,
    "Max": _binary("MAXIMUM", "MaximumMinimumOptions"),
    "MaxPool": max_pool,
    "Min": _binary("MINIMUM", "MaximumMinimumOptions"),
    "Mul": _binary("MUL", "MulOptions"),
    "Neg": _each_number("NEG"),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _binary("POW"),
    "ReduceMax": _reduce("REDUCE_MAX"),
    "ReduceMean": _reduce("MEAN"),
    "ReduceMin": _reduce("REDUCE_MIN"),
    "ReduceSum": _reduce("SUM"),
    "Relu": _same_numbers("RELU"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _each_number("LOGISTIC", UNIT),
    "Sin": _each_number("SIN"),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Split": _split,
    "Sqrt": _each_number("SQRT"),
    "Squeeze": _reshape,
    "Sub": _binary("SUB", "SubOptions"),
    "Tanh": _each_number("TANH"),
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
