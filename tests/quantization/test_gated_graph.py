"""One session answers any mix of INT8 and float, bit for bit as if that mix had been built."""

from __future__ import annotations

import numpy as np
import pytest
from exported import pictures
from nets import detector, written

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from edgecompile.graphs.onnx.agreement import single_thread_session  # noqa: E402
from edgecompile.graphs.onnx.blocks import Block as Part  # noqa: E402
from edgecompile.graphs.onnx.blocks import block_by_node, layers_within  # noqa: E402
from edgecompile.graphs.onnx.structure import Structure  # noqa: E402
from edgecompile.passes.int8_static import Int8Static  # noqa: E402
from edgecompile.quantization.calibration_batches import input_reader  # noqa: E402
from edgecompile.quantization.gated_graph import GatedGraph  # noqa: E402
from edgecompile.quantization.qdq import calibrate, quantize  # noqa: E402
from edgecompile.targets.cann import Cann  # noqa: E402
from edgecompile.targets.ncnn import Ncnn  # noqa: E402
from edgecompile.targets.onnxruntime import OnnxRuntime  # noqa: E402
from edgecompile.targets.openvino import OpenVino  # noqa: E402
from edgecompile.targets.tensorrt import TensorRt  # noqa: E402

TARGETS = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "ncnn": Ncnn, "tensorrt": TensorRt, "cann": Cann}


def placement_of(kind):
    return TARGETS[kind].model_construct(isa=("avx512_vnni",), arch="x86_64").simulated_placement(Int8Static())


class Subject:
    """A detector, its quantized self, and the two in one session."""

    def __init__(self, folder, placement, activation):
        self.folder, self.placement = folder, placement
        self.file, self.spec = written(detector(activation=activation, channels=(16, 24, 32)), folder)
        calibrate(
            folder, model=self.file, spec=self.spec, pictures=pictures("train", 4), method="minmax", percentile=100
        )
        self.float = onnx.load(self.file)
        structure = Structure(self.float)
        names = tuple(node.name for node in structure.nodes)
        learned = tuple(node.name for node in structure.nodes if structure.is_learned(node))
        self.layers = layers_within(Part("all", names, learned))
        facts, self.whole = self.built()
        self.gated = GatedGraph(self.float, self.whole, block_by_node(self.layers), placement, facts["in_float"])
        self.tensor = input_reader(self.spec)(pictures("test", 1)[0]).copy()

    def built(self, keep_float=()):
        out = self.folder / "quantized"
        out.mkdir(exist_ok=True)
        facts = quantize(
            out, model=self.file, ranges=self.folder / "ranges.json", placement=self.placement, exclude="auto",
            keep_float=keep_float,
        )  # fmt: skip
        return facts, onnx.load(out / "model.onnx")

    def run(self, model):
        session = single_thread_session(model.SerializeToString(), optimize="ORT_DISABLE_ALL")
        return session.run(None, {"images": self.tensor})[0]


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["silu", "relu"])
@pytest.mark.parametrize("kind", TARGETS)
def test_every_mix_is_what_would_be_built(tmp_path, kind, activation):
    subject = Subject(tmp_path, placement_of(kind), activation)
    gated, tensor = subject.gated, subject.tensor
    plain = subject.run(subject.float)
    np.testing.assert_array_equal(gated.run(tensor, ())[0], plain)
    whole = gated.run(tensor, gated.parts)[0]
    np.testing.assert_array_equal(whole, subject.run(subject.whole))
    assert np.abs(whole - plain).max() > 0, "nothing was quantized"
    for layer in subject.layers[1:4]:
        _, mixed = subject.built(layer.nodes)
        found = gated.run(tensor, [part for part in gated.parts if part != layer.name])[0]
        np.testing.assert_array_equal(found, subject.run(mixed), err_msg=layer.name)
        assert np.abs(found - whole).max() > 0, "the switch of that layer does nothing"


@pytest.mark.slow
def test_activations_and_weights_have_switches_of_their_own(tmp_path):
    subject = Subject(tmp_path, placement_of("tensorrt"), "silu")
    gated, tensor = subject.gated, subject.tensor
    plain = gated.run(tensor, ())[0]
    sides = [np.abs(gated.run(tensor, *chosen)[0] - plain).max() for chosen in ((gated.parts, ()), ((), gated.parts))]
    assert min(sides) > 0
    assert sides[0] != sides[1]
