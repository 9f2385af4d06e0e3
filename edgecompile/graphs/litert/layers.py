"""Convolutions, products with weights, and pooling: operators that have padding, or learned weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgecompile.errors import StepError
from edgecompile.graphs.litert.flatbuffer import Quant
from edgecompile.graphs.litert.lowering import Lowering
from edgecompile.graphs.litert.values import Node, Value

CHANNELS_LAST = (0, 2, 3, 1)
SAME, VALID = 0, 1
"""LiteRT's two kinds of padding."""


def convolution(low: Lowering, node: Node) -> None:
    """Lowers a convolution: channels by themselves, in groups, or all."""
    filters, quant = _filters(low, node)
    value = _picture(low, node)
    groups, (outputs, width) = node.attributes.get("group", 1), filters.shape[:2]
    strides, spread = _pair(node, "strides"), _pair(node, "dilations")
    value, padding = _padded(low, node, value, filters.shape[2:], strides, spread, fill=0)
    common = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": spread[0],
        "dilationWFactor": spread[1],
    }
    bias = _bias(low, node, value, quant, outputs)
    if groups > 1 and width == 1 and groups == value.shape[1]:
        fields = {**common, "depthMultiplier": outputs // groups}
        stored = _weights(low, filters.transpose(1, 2, 3, 0), quant, 3)
        words: list[Value | int] = [value, stored, bias]
        low.result(node, "DEPTHWISE_CONV_2D", words, CHANNELS_LAST, options="DepthwiseConv2DOptions", fields=fields)
        return
    stored = _weights(low, filters.transpose(0, 2, 3, 1), quant, 0)
    low.result(node, "CONV_2D", [value, stored, bias], CHANNELS_LAST, options="Conv2DOptions", fields=common)


def deconvolution(low: Lowering, node: Node) -> None:
    """Lowers a transposed convolution.

    Raises:
        StepError: it has groups, or padding that LiteRT does not know.
    """
    filters, quant = _filters(low, node)
    value, shape = _picture(low, node), low.shape(node.outputs[0])
    strides, kernel = _pair(node, "strides"), filters.shape[2:]
    pads = list(node.attributes.get("pads", [0, 0, 0, 0]))
    full = [(side - 1) * stride + size for side, stride, size in zip(value.shape[2:], strides, kernel, strict=True)]
    grown = [side * stride for side, stride in zip(value.shape[2:], strides, strict=True)]
    if list(shape[2:]) == full and not any(pads):
        padding = VALID
    elif list(shape[2:]) == grown and all((f - g) // 2 == p for f, g, p in zip(full, grown, pads[:2], strict=True)):
        padding = SAME
    else:
        raise StepError(f"'{node.name[:60]}' pads a transposed convolution as LiteRT does not")
    if node.attributes.get("group", 1) != 1 or _pair(node, "dilations") != [1, 1]:
        raise StepError(f"'{node.name[:60]}' has groups, LiteRT's transposed convolution has none")
    stored = _weights(low, filters.transpose(1, 2, 3, 0), quant, 0)
    bias = _bias(low, node, value, quant, filters.shape[1])
    sides = low.constant(np.array([shape[axis] for axis in CHANNELS_LAST], np.int32))
    fields = {"padding": padding, "strideH": strides[0], "strideW": strides[1]}
    words: list[Value | int] = [sides, stored, value, bias]
    low.result(node, "TRANSPOSE_CONV", words, CHANNELS_LAST, options="TransposeConvOptions", fields=fields)


def gemm(low: Lowering, node: Node) -> None:
    """Lowers a product with weights.

    Raises:
        StepError: it scales what it adds, or takes its input transposed.
    """
    given = node.attributes
    if given.get("transA", 0) or given.get("alpha", 1.0) != 1 or given.get("beta", 1.0) != 1:
        raise StepError(f"'{node.name[:60]}' is a product of a form that is not written for LiteRT")
    filters, quant = _filters(low, node)
    rows = filters if given.get("transB", 0) else filters.T
    value = low.value(node.inputs[0], int8=node.int8)
    value = low.arranged(value, range(len(value.shape)))
    stored = _weights(low, rows, quant, 0)
    bias = _bias(low, node, value, quant, rows.shape[0])
    words: list[Value | int] = [value, stored, bias]
    order = range(len(value.shape))
    low.result(node, "FULLY_CONNECTED", words, order, options="FullyConnectedOptions", fields={"keepNumDims": True})


def max_pool(low: Lowering, node: Node) -> None:
    """Lowers the largest of a window."""
    value = _picture(low, node)
    lowest = -128 if node.int8 else float(np.finfo(np.float32).min)
    _pool(low, node, value, "MAX_POOL_2D", lowest)


def average_pool(low: Lowering, node: Node) -> None:
    """Lowers the mean of a window.

    Raises:
        StepError: its border counts otherwise than LiteRT's.
    """
    value = _picture(low, node)
    counted = bool(node.attributes.get("count_include_pad", 0))
    _pool(low, node, value, "AVERAGE_POOL_2D", 0 if counted else None)


def _pool(low: Lowering, node: Node, value: Value, kind: str, fill: float | None) -> None:
    """Adds a pool. `fill` stands in a border that is no part of LiteRT's own; None where nothing can."""
    size, strides = node.attributes["kernel_shape"], _pair(node, "strides")
    if _pair(node, "dilations") != [1, 1]:
        raise StepError(f"'{node.name[:60]}' pools with gaps, LiteRT without")
    border_counts = kind == "AVERAGE_POOL_2D" and fill is not None
    value, padding = _padded(low, node, value, size, strides, [1, 1], fill, own=not border_counts)
    fields = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "filterHeight": size[0],
        "filterWidth": size[1],
    }
    low.result(node, kind, [value], CHANNELS_LAST, quant=value.quant, options="Pool2DOptions", fields=fields)


def _picture(low: Lowering, node: Node) -> Value:
    """Returns the first input with its channels last.

    Raises:
        StepError: it has other than two sides.
    """
    value = low.value(node.inputs[0], int8=node.int8)
    if len(value.shape) != len(CHANNELS_LAST):
        raise StepError(f"'{node.name[:60]}' reads {len(value.shape)} axes, LiteRT's operator 4")
    return low.arranged(value, CHANNELS_LAST)


def _pair(node: Node, key: str) -> list[int]:
    return list(node.attributes.get(key, [1, 1]))


def _padded(
    low: Lowering,
    node: Node,
    value: Value,
    size: Sequence[int],
    strides: Sequence[int],
    spread: Sequence[int],
    fill: float | None,
    own: bool = True,
) -> tuple[Value, int]:
    """Returns a tensor and the kind of padding with which an operator gives the shape, and the border, of the node.

    Args:
        size, strides, spread: of the window: sides, steps, dilations.
        fill: what stands in a border that is none of LiteRT's own.
        own: whether LiteRT's own border means what the node's does.
    """
    pads = list(node.attributes.get("pads", [0, 0, 0, 0]))
    wanted = low.shape(node.outputs[0])[2:]
    reach = [(side - 1) * gap + 1 for side, gap in zip(size, spread, strict=True)]
    named = node.attributes.get("auto_pad", b"NOTSET")
    borders = []
    for axis, (old, new) in enumerate(zip(value.shape[2:], wanted, strict=True)):
        missing = max((new - 1) * strides[axis] + reach[axis] - old, 0)
        before = {b"SAME_UPPER": missing // 2, b"SAME_LOWER": missing - missing // 2}.get(named, pads[axis])
        borders.append((before, missing - before))
    if all(before <= 0 and after <= 0 for before, after in borders):
        return value, VALID
    grown = [math.ceil(old / stride) for old, stride in zip(value.shape[2:], strides, strict=True)]
    halves = all(before == (before + after) // 2 for before, after in borders)
    if own and list(wanted) == grown and halves:
        return value, SAME
    if fill is None:
        raise StepError(f"'{node.name[:60]}' leaves its border out, as LiteRT does not")
    shape = list(value.shape)
    for axis, (before, after) in enumerate(borders):
        shape[axis + 2] += before + max(after, 0)
    around = [(0, 0), *((before, max(after, 0)) for before, after in borders), (0, 0)]
    words: list[Value | int] = [value, low.constant(np.array(around, np.int32))]
    kind, options = "PAD", "PadOptions"
    if fill:
        dtype = value.dtype
        words.append(low.constant(np.array([fill], dtype), value.quant))
        kind, options = "PADV2", "PadV2Options"
    return low.made(kind, words, value.order, shape, value.dtype, value.quant, options=options), VALID


def _filters(low: Lowering, node: Node) -> tuple[np.ndarray, Quant | None]:
    """Returns the weights of a layer as the node has them: in 8 bits where it computes so, else in float."""
    held = low.whole(node.inputs[1]) if node.int8 else None
    return held if held is not None else (np.asarray(low.number(node.inputs[1]), np.float32), None)


def _weights(low: Lowering, filters: np.ndarray, quant: Quant | None, axis: int) -> int:
    """Adds weights in LiteRT's order of axes.

    Args:
        axis: which of them is that of the output channels.
    """
    ordered = np.ascontiguousarray(filters)
    if quant is None:
        return low.weights(ordered)
    return low.weights(ordered, Quant(quant.scale, quant.zero, axis if len(quant.scale) > 1 else 0))


def _bias(low: Lowering, node: Node, value: Value, quant: Quant | None, count: int) -> int:
    """Adds the bias of a layer, zeros where it has none. In INT8 its steps are those of the products."""
    named = node.inputs[2] if len(node.inputs) > 2 else ""
    bias = np.asarray(low.number(named), np.float64).reshape(-1) if named else np.zeros(count)
    bias = np.broadcast_to(bias, (count,))
    if quant is None or value.quant is None:
        return low.constant(bias.astype(np.float32))
    steps = np.asarray(quant.scale, np.float64) * value.quant.scale[0]
    limits = np.iinfo(np.int32)
    whole = np.clip(np.rint(bias / steps), limits.min, limits.max).astype(np.int32)
    return low.constant(whole, Quant(tuple(float(step) for step in steps), (0,) * len(steps)))
