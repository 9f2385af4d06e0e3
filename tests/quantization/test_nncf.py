"""NNCF on OpenVINO's graph: what stays in float, what the bytes depend on, what it may not break."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec

import numpy as np
import pytest
from exported import pictures, run_step, simplified

from edgecompile.errors import StepError

pytestmark = [
    pytest.mark.slow,  # NNCF imports torch: it is looked for, and imported by the tests alone
    pytest.mark.skipif(not (find_spec("openvino") and find_spec("nncf")), reason="needs openvino and nncf"),
]

FIELDS = {"method": "minmax", "percentile": 99.9, "per_channel": True, "symmetric": "auto", "exclude": "auto"}


def quantized(out, count=6, how=None, **fields):
    paths = {"model": simplified().model, "spec": simplified().spec, "pictures": pictures("train", count)}
    return run_step(out, "edgecompile.quantization.nncf:quantize", paths, {**FIELDS, **fields}, **(how or {}))


def output(path, picture):
    from edgecompile.graphs.openvino import import_openvino

    core = import_openvino().Core()
    compiled = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    return compiled(picture)[0].copy()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("nncf")
    return out, quantized(out, how={"cores": "0"})


def test_detections_are_kept(made):
    from edgecompile.quantization.calibration_batches import input_reader

    out, facts = made
    picture = input_reader(simplified().spec)(pictures("test", 1)[0]).copy()
    found, reference = output(out / "model.xml", picture), output(simplified().model, picture)
    assert reference[:, 4:].max() > 0.5
    assert np.corrcoef(found[:, 4:].ravel(), reference[:, 4:].ravel())[0, 1] > 0.98
    assert facts["changes"][0] == "87 of 87 learned layers in INT8"


def test_whole_graph_loses_every_detection(tmp_path):
    """The negative control: the output too is in 8 bits, one step of which is more than a score can be."""
    from edgecompile.quantization.calibration_batches import input_reader

    quantized(tmp_path, exclude=[])
    picture = input_reader(simplified().spec)(pictures("test", 1)[0]).copy()
    scores = output(tmp_path / "model.xml", picture)[:, 4:]
    assert len(np.unique(scores)) <= 2
    assert (tmp_path / "model.xml").read_text().count("output0") > 0


def test_the_picture_is_quantized_in_steps_of_a_byte(made):
    from edgecompile.graphs.openvino import import_openvino

    model = import_openvino().Core().read_model(str(made[0] / "model.xml"))
    (reader,) = (target.get_node() for target in model.get_parameters()[0].output(0).get_target_inputs())
    assert reader.get_type_name() == "FakeQuantize"
    assert [float(value.get_node().get_data()) for value in reader.input_values()[1:]] == [0, 1, 0, 1]


def test_weights_of_the_first_convolution_cannot_overflow_without_vnni(made):
    from edgecompile.graphs.openvino import import_openvino

    model = import_openvino().Core().read_model(str(made[0] / "model.xml"))
    largest = []
    for layer in model.get_ordered_ops():
        if layer.get_type_name() == "Convolution":
            node = layer.input_value(1).get_node()
            while node.get_type_name() != "Constant":
                node = node.input_value(0).get_node()
            largest.append(int(np.abs(node.get_data().astype(int)).max()))
    assert largest[0] <= 64
    assert max(largest[1:]) > 64  # the others keep all their bits


def test_decode_part_is_in_float(made):
    from edgecompile.graphs.openvino import import_openvino
    from edgecompile.graphs.openvino.ir_structure import decode

    model = import_openvino().Core().read_model(str(made[0] / "model.xml"))
    inside = {one.get_friendly_name(): one for one in model.get_ordered_ops()}
    kinds = [inside[name].get_type_name() for name in decode(model)]
    assert "Softmax" in kinds
    assert "Sigmoid" in kinds
    assert "FakeQuantize" not in kinds


def test_bytes_depend_on_the_inputs_alone(made, tmp_path):
    """Another folder, hash seed and number of cores; the counters of the process are gone from the names."""
    quantized(tmp_path, how={"PYTHONHASHSEED": "9", "OMP_NUM_THREADS": "2"})
    for name in ("model.xml", "model.bin"):
        digests = {hashlib.sha256((folder / name).read_bytes()).hexdigest() for folder in (made[0], tmp_path)}
        assert len(digests) == 1, name
    text = (tmp_path / "model.xml").read_text()
    assert str(simplified().folder) not in text
    assert "nncf" not in text


def test_another_picture_gives_other_ranges(made, tmp_path):
    """The negative control of the one above."""
    quantized(tmp_path, count=5)
    assert (made[0] / "model.bin").read_bytes() != (tmp_path / "model.bin").read_bytes()


def test_an_unused_pattern_is_an_error(tmp_path):
    from edgecompile.quantization.nncf import quantize

    paths = {"model": simplified().model, "spec": simplified().spec, "pictures": pictures("train", 1)}
    with pytest.raises(StepError, match="matches no node"):
        quantize(tmp_path, **paths, **{**FIELDS, "exclude": ["/model.99/*"]})
