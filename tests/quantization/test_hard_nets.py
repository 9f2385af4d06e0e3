"""Reduced cases of nets that are hard for INT8: the hard layers in float bring it back, the others in float do not.

Each net computes what its easy self computes: channels are enlarged in one layer, and what reads them is made as much
smaller.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from nets import Net

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from edgecompile.graphs.onnx.blocks import Block, block_by_node, layers_within  # noqa: E402
from edgecompile.graphs.onnx.structure import Structure  # noqa: E402
from edgecompile.passes.int8_static import Int8Static  # noqa: E402
from edgecompile.quantization.calibration import measure_ranges  # noqa: E402
from edgecompile.quantization.gated_graph import GatedGraph  # noqa: E402
from edgecompile.quantization.qdq import quantize  # noqa: E402
from edgecompile.targets.onnxruntime import OnnxRuntime  # noqa: E402

pytestmark = pytest.mark.slow

FACTOR = 64.0
SIZE = (16, 16)
WIDTH = 16
FEW = [1, 6]
"""Channels that are enlarged."""


class HardNet(Net):
    """A net whose layers are named as they are made.

    Attributes:
        hard: names of the layers that were made hard.
    """

    def __init__(self) -> None:
        super().__init__(seed=3)
        self.hard: set[str] = set()

    def layer(self, source, before, after, *, rows=None, columns=None, group=1, kernel=1):
        """Adds a convolution: `rows` are factors of what it puts out, `columns` those by which it reads less."""
        spread = (2 / (before // group * kernel * kernel)) ** 0.5
        weights = self.noise.normal(0, spread, (after, before // group, kernel, kernel))
        bias = self.noise.normal(0, 0.2, after)
        if columns is not None:
            weights = weights / (columns[None, :, None, None] if group == 1 else columns[:, None, None, None])
        if rows is not None:
            weights, bias = weights * rows[:, None, None, None], bias * rows
        constants = (self.constant(value.astype(np.float32)) for value in (weights, bias))
        out = self.node("Conv", source, *constants, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, group=group)
        if rows is not None or columns is not None:
            self.hard.add(self.nodes[-1].name)
        return out

    def relu(self, source):
        return self.node("Relu", source)


def enlarged(count=WIDTH):
    factors = np.ones(count)
    factors[FEW] = FACTOR
    return factors


def outlier_channels(net, source):
    inner = net.relu(net.layer(source, WIDTH, WIDTH, rows=enlarged()))
    return net.relu(net.layer(inner, WIDTH, WIDTH, columns=enlarged()))


def depthwise(net, source):
    inner = net.relu(net.layer(source, WIDTH, WIDTH, rows=enlarged()))
    return net.relu(net.layer(inner, WIDTH, WIDTH, columns=enlarged(), group=WIDTH, kernel=3))


def attention(net, source):
    """Queries with large channels, keys with channels as much smaller, each flat: (1, channels, places)."""
    flat = np.array([1, WIDTH, -1], np.int64)
    queries, keys = (
        net.node("Reshape", net.layer(source, WIDTH, WIDTH, rows=factors), net.constant(flat))
        for factors in (enlarged(), 1 / enlarged())
    )
    values = net.node("Reshape", net.layer(source, WIDTH, WIDTH), net.constant(flat))
    scores = net.node("MatMul", net.node("Transpose", queries, perm=[0, 2, 1]), keys)
    net.hard.add(net.nodes[-1].name)
    scaled = net.node("Mul", scores, net.constant(np.float32(0.4)))
    mixed = net.node("MatMul", values, net.node("Transpose", net.node("Softmax", scaled, axis=-1), perm=[0, 2, 1]))
    return net.node("Reshape", mixed, net.constant(np.array([1, WIDTH, *SIZE], np.int64)))


CASES = {
    "outlier channels": (outlier_channels, True),
    "depthwise": (depthwise, True),
    "attention": (attention, True),
    "weights of one scale": (outlier_channels, False),
}


class Errors:
    """How far the outputs of a mix are from those in float, as a share of how far these vary."""

    def __init__(self, folder, make, per_channel):
        net = HardNet()
        first = net.relu(net.layer("images", 3, WIDTH, kernel=3))
        inner = net.relu(net.layer(first, WIDTH, WIDTH))
        last = net.relu(net.layer(make(net, inner), WIDTH, WIDTH))
        out = net.layer(last, WIDTH, 6)
        flat = net.node("Reshape", out, net.constant(np.array([1, 6, -1], np.int64)))
        model = net.model(flat, 6, SIZE[0] * SIZE[1], size=SIZE)
        self.hard = net.hard
        noise = np.random.default_rng(0)
        self.pictures = [noise.random((1, 3, *SIZE), dtype=np.float32) for _ in range(4)]
        found = measure_ranges(model, lambda: iter(self.pictures), method="minmax", percentile=100)
        (folder / "ranges.json").write_text(json.dumps(found))
        onnx.save(model, folder / "model.onnx")
        target = OnnxRuntime.model_construct(isa=("avx512_vnni",), arch="x86_64")
        placement = target.placement(Int8Static(per_channel=per_channel))
        facts = quantize(
            folder, model=folder / "model.onnx", ranges=folder / "ranges.json", placement=placement, exclude="auto"
        )
        structure = Structure(model)
        names = tuple(node.name for node in structure.nodes)
        learned = tuple(node.name for node in structure.nodes if structure.is_learned(node))
        part_of = block_by_node(layers_within(Block("all", names, learned)))
        self.hard_parts = {part_of[name] for name in self.hard}
        quantized = onnx.load(folder / "model.onnx")
        self.graph = GatedGraph(model, quantized, part_of, placement, facts["in_float"])
        self.parts = set(self.graph.parts)

    def of(self, parts):
        errors = []
        for picture in self.pictures:
            true, found = (self.graph.run(picture, chosen)[0] for chosen in ((), parts))
            errors.append(np.abs(found - true).mean() / np.abs(true - true.mean()).mean())
        return float(np.mean(errors))


@pytest.mark.parametrize("case", CASES)
def test_the_right_layers_in_float_repair_it_and_the_wrong_ones_do_not(tmp_path, case):
    make, per_channel = CASES[case]
    errors = Errors(tmp_path, make, per_channel)
    plain = errors.of(errors.parts)
    right = errors.of(errors.parts - errors.hard_parts)
    wrong = errors.of(errors.hard_parts)
    assert errors.hard_parts < errors.parts
    assert right < 0.4 * plain, "the hard layers in float"
    assert wrong > 0.7 * plain, "negative control: all others in float"
    alone = {part: errors.of({part}) for part in errors.parts}
    assert max(alone, key=alone.get) in errors.hard_parts, "the ranking"
