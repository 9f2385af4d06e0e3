"""The pass `equalize`: its place in a plan, what it says, and what it saves INT8 of nets that were made hard."""

from __future__ import annotations

import numpy as np
import pytest
from exported import graph_for, pictures, simplified
from nets import detector, written

from edgecompile.errors import PlanError
from edgecompile.passes.equalize import PICTURES, Equalize
from edgecompile.passes.int8_static import Int8Static
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output, Stage
from edgecompile.targets.onnxruntime import OnnxRuntime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))
OUTLIER = 64.0


def planned(**how):
    graph = graph_for(None, **how)
    graph.steps.update(simplify=None, onnx_export=None)
    return graph, Equalize().lower(graph, FLOAT)


def test_it_stands_before_quantization_and_reads_pictures_where_there_are_some():
    graph, model = planned()
    assert model == FLOAT.with_(artifact=Output("equalize", "model.onnx"))
    assert graph.steps["equalize"].stage is Stage.FUSION
    assert set(graph.steps["equalize"].inputs) == {"model", "spec", "pictures"}
    assert len(graph.steps["equalize"].inputs["pictures"].paths) <= PICTURES
    without, _ = planned(calibration=False)
    assert set(without.steps["equalize"].inputs) == {"model", "spec"}


def test_it_works_on_a_float_onnx_graph_only():
    for model in (None, FLOAT.with_(precision="int8"), FLOAT.with_(format="openvino")):
        with pytest.raises(PlanError, match="before quantization"):
            Equalize().lower(graph_for(None), model)


@pytest.mark.parametrize("words", [(), ("passes.equalize=null",)], ids=["by default", "left out"])
def test_int8_static_brings_it(run, here, words):
    plan = run("plan", "quickstart", "--json", *words)
    assert plan.code == 0, plan.err
    assert ('"equalize"' in plan.out) is not bool(words)


def equalized(folder, model):
    """Returns the equalized model and what the step says."""
    from edgecompile.quantization.equalization import equalize

    file, spec = written(model, folder)
    (folder / "equalized").mkdir()
    facts = equalize(folder / "equalized", model=file, spec=spec, pictures=pictures("train", PICTURES))
    return onnx.load(folder / "equalized" / "model.onnx"), facts


def hard(model):
    """Makes every eighth channel between two convolutions 64 times as large, and the weights that read it as much
    smaller: the net computes the same."""
    from onnx import numpy_helper

    from edgecompile.graphs.onnx.structure import Structure

    structure = Structure(model)

    def multiply(name, factor):
        tensor = structure.initializers[name]
        value = numpy_helper.to_array(tensor) * factor
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))

    for node in structure.nodes:
        readers = structure.consumers.get(node.output[0], [])
        if node.op_type == "Conv" and [reader.op_type for reader in readers] in (["Relu"], ["LeakyRelu"]):
            factor = np.ones(structure.value(node.input[1]).shape[0])
            factor[1::8] = OUTLIER
            multiply(node.input[1], factor[:, None, None, None])
            multiply(node.input[2], factor)
            for reader in structure.consumers[readers[0].output[0]]:
                multiply(reader.input[1], 1 / factor[None, :, None, None])
    return model


def loss(folder, model):
    """Returns the mean error of boxes and scores in INT8 (ONNX Runtime), as a share of how far they vary."""
    from edgecompile.graphs.onnx.agreement import run
    from edgecompile.quantization.calibration_batches import input_reader
    from edgecompile.quantization.qdq import calibrate, quantize

    file, spec = written(model, folder)
    calibrate(folder, model=file, spec=spec, pictures=pictures("train", 8), method="minmax", percentile=99.9)
    placement = OnnxRuntime(device="a CPU", memory_mb=4096, isa=("avx512_vnni",)).placement(Int8Static())
    exact = file.read_bytes()
    quantize(folder, model=file, ranges=folder / "ranges.json", placement=placement, exclude="auto")
    read, errors = input_reader(spec), []
    for picture in pictures("test", 4):
        tensor = read(picture).copy()
        true, found = (run(content, tensor)[0] for content in (exact, (folder / "model.onnx").read_bytes()))
        varied = np.abs(true - true.mean(axis=2, keepdims=True))
        errors += [np.abs(true - found)[:, rows].mean() / varied[:, rows].mean() for rows in (slice(4), slice(4, 6))]
    return float(np.mean(errors))


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "leaky"])
def test_int8_of_a_hard_net_is_that_of_the_easy_one(tmp_path, activation):
    easy = detector(activation=activation, channels=(16, 24, 32))
    net = hard(detector(activation=activation, channels=(16, 24, 32)))
    evened, facts = equalized(tmp_path / "net", net)
    assert facts["changes"][0].startswith("6 pairs of layers equalized")
    assert facts["proven_on"] == 1 + PICTURES
    plain, helped, floor = (loss(tmp_path / name, one) for name, one in zip("abc", (net, evened, easy), strict=True))
    assert plain > 0.9, "the outliers leave nothing"
    assert helped < 1.3 * floor < 0.2


@pytest.mark.slow
def test_a_net_without_outliers_loses_nothing_by_it(tmp_path):
    easy = detector(activation="relu", channels=(16, 24, 32), seed=1)
    evened, _ = equalized(tmp_path / "net", easy)
    assert loss(tmp_path / "a", evened) < 1.1 * loss(tmp_path / "b", easy)


def test_nothing_to_do_says_why(tmp_path):
    model = detector()
    same, facts = equalized(tmp_path / "net", model)
    assert facts["changes"] == [
        "0 pairs: SiLU between 5, Sigmoid between 1, an output of the model between 1 (7 layers)"
    ]
    assert facts["pairs"] == []
    assert same.graph.node == model.graph.node
    assert {tensor.name: tensor.raw_data for tensor in same.graph.initializer} == {
        tensor.name: tensor.raw_data for tensor in model.graph.initializer
    }


@pytest.mark.slow
def test_the_sample(tmp_path):
    """A checkpoint of today's YOLO: SiLU everywhere but in its attention, whose values may be scaled."""
    from edgecompile.quantization.equalization import equalize

    facts = equalize(tmp_path, model=simplified().model, spec=simplified().spec, pictures=pictures("train", 2))
    assert next(iter(facts["reasons"])) == "SiLU"
    assert facts["changes"][0].startswith("0 pairs: SiLU between 79")
