"""Equalization through each operator: outliers shrink, outputs keep every bit, what cannot be scaled says why."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from nets import SIZE, Net, detector
from onnx import helper, numpy_helper

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.agreement import fixed_input
from edgecompile.graphs.onnx.channel_flow import ChannelFlow
from edgecompile.quantization import equalization

SHAPE = [1, 3, *SIZE]
OUTLIER = 6
"""Exponent of two by which a hard net's outlier channels are larger than before."""


class Branching(Net):
    """A net with nodes of several outputs."""

    def split(self, source: str, parts: list[int], axis: int = 1) -> list[str]:
        names = [f"{source}_part{place}" for place in range(len(parts))]
        sizes = self.constant(np.array(parts, np.int64))
        self.nodes.append(helper.make_node("Split", [source, sizes], names, name=f"split_{source}", axis=axis))
        return names

    def whole(self, *sizes: int) -> str:
        return self.constant(np.array(sizes, np.int64))

    def scaled(self, *shape: int) -> str:
        return self.constant(self.noise.normal(0, 0.3, shape).astype(np.float32))

    def ended(self, source: str, before: int, height: int, width: int) -> onnx.ModelProto:
        """Ends in a convolution of five channels."""
        last = self.convolution(source, before, 5, kernel=1)
        return self.model(self.node("Reshape", last, self.whole(1, 5, -1)), 5, height * width)


def relu(net: Branching) -> onnx.ModelProto:
    return net.ended(net.node("Relu", net.convolution("images", 3, 8, stride=2)), 8, 32, 48)


def leaky(net: Branching) -> onnx.ModelProto:
    return net.ended(net.node("LeakyRelu", net.convolution("images", 3, 8, stride=2), alpha=0.1), 8, 32, 48)


def directly(net: Branching) -> onnx.ModelProto:
    return net.ended(net.convolution("images", 3, 8, stride=2), 8, 32, 48)


def slope_and_limit(net: Branching) -> onnx.ModelProto:
    slopes = net.constant(net.noise.uniform(0, 0.3, (8, 1, 1)).astype(np.float32))
    clipped = net.node("Clip", net.convolution("images", 3, 8, stride=2), net.constant(np.float32(0)))
    return net.ended(net.node("PRelu", net.convolution(clipped, 8, 8), slopes), 8, 32, 48)


def concatenated(net: Branching) -> onnx.ModelProto:
    one = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    other = net.node("Relu", net.convolution("images", 3, 4, stride=2))
    return net.ended(net.node("Concat", one, other, axis=1), 12, 32, 48)


def beside_silu(net: Branching) -> onnx.ModelProto:
    one = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    other = net.activation(net.convolution("images", 3, 4, stride=2), "silu")
    return net.ended(net.node("Concat", one, other, axis=1), 12, 32, 48)


def parted(net: Branching) -> onnx.ModelProto:
    one, other = net.split(net.node("Relu", net.convolution("images", 3, 8, stride=2)), [3, 5])
    return net.ended(net.node("Concat", net.convolution(one, 3, 4), other, axis=1), 9, 32, 48)


def residual(net: Branching) -> onnx.ModelProto:
    one = net.convolution("images", 3, 8, stride=2)
    other = net.convolution(net.node("Relu", one), 8, 8)
    return net.ended(net.node("Relu", net.node("Add", one, other)), 8, 32, 48)


def pooled(net: Branching) -> onnx.ModelProto:
    source = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    largest = net.node("MaxPool", source, kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4)
    mean = net.node("AveragePool", source, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    padded = net.node("Pad", net.node("Concat", source, largest, mean, axis=1), net.whole(0, 0, 1, 1, 0, 0, 1, 1))
    return net.ended(padded, 24, 34, 50)


def resized(net: Branching) -> onnx.ModelProto:
    source = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    nearest = net.node("Resize", source, "", scales, mode="nearest")
    linear = net.node("Resize", source, "", scales, mode="linear")
    return net.ended(net.node("Concat", nearest, linear, axis=1), 16, 64, 96)


def depthwise(net: Branching) -> onnx.ModelProto:
    source = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    deep = net.node("Conv", source, net.scaled(8, 1, 3, 3), net.scaled(8), group=8, pads=[1] * 4)
    grouped = net.node("Conv", net.node("Relu", deep), net.scaled(6, 4, 1, 1), group=2)
    return net.ended(net.node("Relu", grouped), 6, 32, 48)


def transposed(net: Branching) -> onnx.ModelProto:
    source = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    up = net.node("ConvTranspose", source, net.scaled(8, 3, 2, 2), net.scaled(6), strides=[2, 2], group=2)
    return net.ended(net.node("Relu", up), 6, 64, 96)


def sliced(net: Branching) -> onnx.ModelProto:
    source = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    channels = net.node("Slice", source, net.whole(1), net.whole(2**31), net.whole(1), net.whole(2))
    corner = net.node("Slice", channels, net.whole(0, 0), net.whole(16, 16), net.whole(2, 3))
    return net.ended(corner, 4, 16, 16)


def attention(net: Branching) -> onnx.ModelProto:
    """Two heads: queries and keys of 2 channels, values of 4, as in YOLO11; values also go through a convolution."""
    source = net.node("MaxPool", net.convolution("images", 3, 8, stride=2), kernel_shape=[8, 8], strides=[8, 8])
    heads = net.node("Reshape", net.convolution(source, 8, 16, kernel=1), net.whole(1, 2, 8, 24))
    query, key, value = net.split(heads, [2, 2, 4], axis=2)
    weights = net.node("Softmax", net.node("MatMul", net.node("Transpose", query, perm=[0, 1, 3, 2]), key), axis=-1)
    mixed = net.node("MatMul", value, net.node("Transpose", weights, perm=[0, 1, 3, 2]))
    position = net.node("Reshape", value, net.whole(1, 8, 4, 6))
    position = net.node("Conv", position, net.scaled(8, 1, 3, 3), net.scaled(8), group=8, pads=[1] * 4)
    return net.ended(net.node("Add", net.node("Reshape", mixed, net.whole(1, 8, 4, 6)), position), 8, 4, 6)


def products(net: Branching) -> onnx.ModelProto:
    """Rows of numbers: matrix products with a bias added, Gemm either way round."""
    mean = net.node(
        "ReduceMean", net.node("Relu", net.convolution("images", 3, 8, stride=2)), net.whole(2, 3), keepdims=0
    )
    one = net.node("Relu", net.node("Add", net.node("MatMul", mean, net.scaled(8, 12)), net.scaled(12)))
    two = net.node("Relu", net.node("Gemm", one, net.scaled(6, 12), net.scaled(6), transB=1))
    last = net.node("Mul", net.node("Gemm", two, net.scaled(6, 10)), net.constant(np.float32(1.7)))
    return net.model(net.node("Reshape", last, net.whole(1, 5, 2)), 5, 2)


def flattened(net: Branching) -> onnx.ModelProto:
    source = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    small = net.node("MaxPool", source, kernel_shape=[16, 16], strides=[16, 16])
    return net.model(
        net.node("Reshape", net.node("MatMul", net.node("Flatten", small), net.scaled(48, 10)), net.whole(1, 5, 2)),
        5,
        2,
    )


THROUGH = [
    relu, leaky, directly, slope_and_limit, concatenated, beside_silu, parted, residual, pooled, resized, depthwise,
    transposed, sliced, attention, products, flattened,
]  # fmt: skip


def scaled_model(model: onnx.ModelProto) -> tuple[onnx.ModelProto, equalization.Scaling, int]:
    flow = ChannelFlow(equalization.sized(model, SHAPE))
    inputs = [fixed_input(SHAPE, SIZE)]
    return equalization.proven(model, equalization.choose(flow, equalization.reaches(model, flow, inputs)), inputs)


def hardened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a net that computes the same, with every fourth channel 64 times as large where that can be."""
    flow = ChannelFlow(equalization.sized(model, SHAPE))
    reach = equalization.reaches(model, flow, [fixed_input(SHAPE, SIZE)])
    chosen = equalization.choose(flow, reach)
    free = np.flatnonzero(chosen.parts >= 0)
    roots = flow.channels.roots(free)
    exponents = np.zeros_like(chosen.exponents)
    exponents[free] = np.where(np.isin(roots, np.unique(roots)[1::4]), -OUTLIER, 0)
    hard = equalization.scaled(model, dataclasses.replace(chosen, exponents=exponents))
    equalization.require_equal(model, hard, [fixed_input(SHAPE, SIZE)])
    return hard


def spread(model: onnx.ModelProto, scaling: equalization.Scaling) -> float:
    """Returns how much further the widest channel reaches than the one in the middle, of what readers of scaled
    channels read, at most."""
    readers = {reader for _, reader, *_ in scaling.pairs()}
    reach = equalization.reaches(model, scaling.flow, [fixed_input(SHAPE, SIZE)])
    read = {layer.reads for layer in scaling.flow.layers if layer.name in readers}
    return max(float(reach[name].max() / np.median(reach[name][reach[name] > 0])) for name in read)


@pytest.mark.parametrize("build", THROUGH, ids=lambda build: build.__name__)
def test_outliers_shrink_and_every_bit_stays(build):
    easy = build(Branching())
    model = hardened(easy)
    equalized, scaling, left_out = scaled_model(model)
    assert left_out == 0
    largest = max(exponent for *_, exponent in scaling.pairs())
    assert largest >= 4, scaling.pairs()
    onnx.checker.check_model(equalized, full_check=True)
    equalization.require_equal(model, equalized, [fixed_input(SHAPE, SIZE) * 0.3, np.zeros(SHAPE, np.float32)])
    before, after, at_first = (spread(net, scaling) for net in (model, equalized, easy))
    assert before > 20
    assert after < 2 * at_first < before / 2


def test_all_pairs_are_found():
    _, scaling, _ = scaled_model(hardened(depthwise(Branching())))
    assert next(pair[:2] for pair in scaling.pairs()) == ("conv_0", "conv_2")
    assert {layer.name for layer in scaling.flow.layers} == {"conv_0", "conv_2", "conv_4", "conv_6"}


def test_values_of_attention_are_scaled_and_queries_are_not():
    _, scaling, _ = scaled_model(hardened(attention(Branching())))
    flow, qkv = scaling.flow, "conv_2"
    made = np.unique(next(layer.outputs for layer in flow.layers if layer.name == qkv))
    free = np.array([not flow.channels.reason(int(number)) for number in made]).reshape(2, 8)
    assert not free[:, :4].any()
    assert free[:, 4:].all()


@pytest.mark.parametrize(
    ("activation", "reason"), [("silu", "SiLU"), ("hardswish", "HardSwish")], ids=["silu", "hardswish"]
)
def test_what_does_not_scale_says_why(activation, reason):
    _, scaling, _ = scaled_model(detector(activation=activation))
    assert scaling.pairs() == []
    reasons = equalization.reasons_of(scaling.flow)
    assert reasons == {reason: 5, "Sigmoid": 1, "an output of the model": 1}


def reads_twice(net: Branching) -> onnx.ModelProto:
    source = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    return net.ended(net.node("Concat", net.node("Tanh", source), net.convolution(source, 8, 8), axis=1), 16, 32, 48)


def limited(net: Branching) -> onnx.ModelProto:
    limits = net.constant(np.float32(0)), net.constant(np.float32(6))
    return net.ended(net.node("Clip", net.convolution("images", 3, 8, stride=2), *limits), 8, 32, 48)


def padded_with_one(net: Branching) -> onnx.ModelProto:
    source = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    padded = net.node("Pad", source, net.whole(0, 0, 1, 1, 0, 0, 1, 1), net.constant(np.float32(1)))
    return net.ended(padded, 8, 34, 50)


def squared(net: Branching) -> onnx.ModelProto:
    source = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    return net.ended(net.node("Mul", source, source), 8, 32, 48)


@pytest.mark.parametrize(
    ("build", "reason"), [(reads_twice, "Tanh"), (limited, "Clip"), (padded_with_one, "Pad"), (squared, "Mul")]
)
def test_one_reader_that_does_not_scale_keeps_the_channel(build, reason):
    _, scaling, _ = scaled_model(hardened(build(Branching())))
    assert "conv_0" not in {maker for maker, *_ in scaling.pairs()}
    assert equalization.reasons_of(scaling.flow)[reason] == 1


def wrong(scaling: equalization.Scaling, name: str) -> equalization.Scaling:
    """Forgets to scale back the weights that read what a convolution put out."""
    layer = next(layer for layer in scaling.flow.layers if layer.name == name)
    numbers = set(np.unique(layer.outputs))
    constants = [
        dataclasses.replace(constant, times=np.array(0)) if numbers & set(np.unique(constant.times)) else constant
        for constant in scaling.flow.constants
    ]
    assert any(one is not other for one, other in zip(constants, scaling.flow.constants, strict=True))
    flow = scaling.flow
    flow.constants = constants
    return dataclasses.replace(scaling, flow=flow)


def test_negative_control_a_wrong_partner_is_seen_and_left_out():
    net = Branching()
    first = net.node("Relu", net.convolution("images", 3, 8, stride=2))
    model = hardened(net.ended(net.node("Relu", net.convolution(first, 8, 8)), 8, 32, 48))
    _, scaling, _ = scaled_model(model)
    assert {pair[:2] for pair in scaling.pairs()} == {("conv_0", "conv_2"), ("conv_2", "conv_4")}
    broken = wrong(scaling, "conv_0")
    inputs = [fixed_input(SHAPE, SIZE)]
    with pytest.raises(StepError, match="changed what the model computes: 'output0'"):
        equalization.require_equal(model, equalization.scaled(model, broken), inputs)
    _, kept, left_out = equalization.proven(model, broken, inputs)
    assert left_out == 1
    assert {pair[:2] for pair in kept.pairs()} == {("conv_2", "conv_4")}


def test_digits_that_a_constant_would_lose_are_refused():
    net = Branching()
    made = net.convolution("images", 3, 8, stride=2)
    bias = numpy_helper.to_array(net.tensors[-1]).copy()
    bias[1] = 1.5e-38  # halving it leaves no normal number
    net.tensors[-1].CopyFrom(numpy_helper.from_array(bias, net.tensors[-1].name))
    model = net.ended(net.node("Relu", made), 8, 32, 48)
    equalized, scaling, left_out = scaled_model(model)
    assert left_out == 1
    assert scaling.pairs() == []
    assert equalized.graph.initializer[:] == model.graph.initializer[:]


def test_a_constant_of_two_readers_is_scaled_for_one():
    net = Branching()
    source = net.convolution("images", 3, 8, stride=2)
    shared = net.nodes[-1].input[2]
    weights = net.scaled(8, 8, 1, 1)
    last = net.node("Conv", net.node("Relu", source), weights, shared)
    model = hardened(net.model(net.node("Reshape", last, net.whole(1, 8, -1)), 8, 32 * 48))
    equalized, scaling, _ = scaled_model(model)
    assert scaling.pairs()
    names = {tensor.name for tensor in equalized.graph.initializer}
    assert shared in names
    assert weights not in names
