"""The ranking finds the block that was made hard, names the cause, and proposes what helps; the wrong blocks do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exported import pictures, simplified
from needed import needs

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
needs("ultralytics")

from onnx import numpy_helper  # noqa: E402

from edgecompile.errors import StepError  # noqa: E402
from edgecompile.passes.int8_static import Int8Static  # noqa: E402
from edgecompile.quantization.loss_ranking import rank  # noqa: E402
from edgecompile.quantization.partial_int8 import PartialInt8  # noqa: E402
from edgecompile.quantization.qdq import calibrate  # noqa: E402
from edgecompile.quantization.sensitivity_cause import cause_of  # noqa: E402
from edgecompile.quantization.sensitivity_document import FILE, read_sensitivity  # noqa: E402
from edgecompile.targets.onnxruntime import OnnxRuntime  # noqa: E402

pytestmark = pytest.mark.slow

OFFSET, BINS = 300.0, 16
HARD = "/model.23/cv2.0"
PLACEMENT = OnnxRuntime.model_construct(isa=("avx512_vnni",), arch="x86_64").placement(Int8Static())


def change(model, node, position, edit):
    """Replaces a constant input of a node by what `edit` returns for its value."""
    name = next(one for one in model.graph.node if one.name.endswith(node)).input[position]
    tensor = next(one for one in model.graph.initializer if one.name == name)
    tensor.CopyFrom(numpy_helper.from_array(edit(numpy_helper.to_array(tensor)).astype(np.float32), name))


def harden(model):
    """Adds the same to the 16 bins of one side of the boxes of the finest grid: a softmax takes no notice of it, and
    the range of the tensor grows tenfold. The net computes the same."""

    def edit(value):
        return value + np.where(np.arange(len(value)) < BINS, OFFSET, 0)

    change(model, f"{HARD}/cv2.0.2/Conv", 2, edit)


def make(folder: Path, edit=None):
    """Returns the sample's graph, changed, and the ranges of its activations."""
    subject = simplified()
    model = onnx.load(subject.model)
    if edit:
        edit(model)
    onnx.save(model, folder / "model.onnx")
    calibrate(
        folder, model=folder / "model.onnx", spec=subject.spec, pictures=pictures("train", 8), method="minmax",
        percentile=100,
    )  # fmt: skip
    return {"model": folder / "model.onnx", "spec": subject.spec, "ranges": folder / "ranges.json"}


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    return make(tmp_path_factory.mktemp("hard"), harden)


@pytest.fixture(scope="module")
def easy(tmp_path_factory):
    return make(tmp_path_factory.mktemp("easy"))


def ranked(folder: Path, made):
    rank(folder, **made, pictures=pictures("train", 8), placement=PLACEMENT, exclude="auto", every_layer=False)
    return read_sensitivity(folder / FILE)


def opened(made):
    return PartialInt8(**made, placement=PLACEMENT, exclude="auto", pictures=pictures("train", 8))


@pytest.fixture(scope="module")
def of_hard(tmp_path_factory, hard):
    folder = tmp_path_factory.mktemp("ranked")
    ranked(folder, hard)
    return folder / FILE


def test_the_block_that_was_made_hard_is_found_and_its_cause_named(tmp_path, hard, easy, of_hard):
    found = read_sensitivity(of_hard)
    worst = found.worst()[0]
    assert worst.name == HARD
    assert worst.activations > 3 * worst.weights
    assert worst.cause.startswith(f"activations of {HARD}/cv2.0.2/Conv: 16 of 64 channels"), worst.cause
    plain = ranked(tmp_path, easy)
    assert plain.worst()[0].name != HARD
    assert found.loss > 1.5 * plain.loss


def test_what_it_proposes_helps_and_the_wrong_blocks_do_not(hard, of_hard):
    subject = opened(hard)
    parts = next(subject.parts_of(block) for block in subject.blocks if block.name == HARD)
    whole = subject.loss(subject.parts)
    assert subject.loss(subject.parts - parts) < 0.6 * whole, "the hard block in float"
    assert subject.loss(parts) > 0.5 * whole, "all others in float: the hard one alone loses as much"
    found = read_sensitivity(of_hard)
    assert found.loss == pytest.approx(whole, abs=1e-6)
    assert HARD in found.proposals[-1].blocks
    losses, costs = [one.loss for one in found.proposals], [one.cost for one in found.proposals]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.3 * whole
    assert costs == sorted(costs)


def test_a_weight_that_stands_out_is_named(tmp_path):
    layer = "/model.4/cv1/conv/Conv"

    def edit(value):
        value = value.copy()
        value[:, 0, 0, 0] = 8 * np.abs(value).max(axis=(1, 2, 3))
        return value

    subject = opened(make(tmp_path, lambda model: change(model, layer, 1, edit)))
    block = next(block for block in subject.blocks if layer in block.nodes)
    assert cause_of(subject, block, 0.0, 1.0).startswith(f"weights of {layer}: one weight of a channel")
    other = next(block for block in subject.blocks if block.name == "/model.19")
    assert "one weight" not in cause_of(subject, other, 0.0, 1.0)


def test_a_model_that_finds_nothing_cannot_be_ranked(tmp_path):
    def blind(model):
        for number in range(3):
            change(model, f"/cv3.{number}/cv3.{number}.2/Conv", 2, lambda value: value * 0 - 100)

    with pytest.raises(StepError, match="finds nothing on the first 8 calibration pictures"):
        ranked(tmp_path, make(tmp_path, blind))
