"""The placement of Q/DQ pairs."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from exported import run_step, simplified

from edgecompile.errors import StepError
from edgecompile.passes.int8_static import Int8Static
from edgecompile.quantization.qdq import calibrate
from edgecompile.targets.onnxruntime import OnnxRuntime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PLACEMENT = OnnxRuntime(device="a CPU", memory_mb=1, isa=("avx512_vnni",)).placement(Int8Static())


@pytest.fixture(scope="module")
def ranges(tmp_path_factory):
    from edgecompile.quantization.calibration import measure_ranges

    noise = np.random.default_rng(0).random((1, 3, 192, 256), dtype=np.float32)
    found = measure_ranges(onnx.load(simplified().model), lambda: [noise], method="minmax", percentile=99.9)
    path = tmp_path_factory.mktemp("ranges") / "ranges.json"
    path.write_text(json.dumps(found))
    return path


def quantized(out, ranges, exclude="auto", **changes):
    from edgecompile.quantization.qdq import quantize

    quantize(out, model=simplified().model, ranges=ranges, placement={**PLACEMENT, **changes}, exclude=exclude)
    return onnx.load(out / "model.onnx")


def values(model):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.slow
def test_profile_of_x86(tmp_path, ranges):
    """uint8 activations, int8 weights with a scale for each channel, int32 biases, the input in steps of a byte."""
    model = quantized(tmp_path, ranges)
    known = values(model)
    readers = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    kinds = {known[node.input[2]].dtype.name for node in readers if len(node.input) > 2}
    assert kinds == {"uint8", "int8", "int32"}
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "images")
    assert known[first.input[1]] == pytest.approx(1 / 255)
    assert known[first.input[2]] == 0
    per_channel = [known[node.input[1]] for node in readers if known.get(node.input[0], np.zeros(0)).dtype == np.int8]
    assert all(scale.size > 1 for scale in per_channel if scale.ndim)


@pytest.mark.slow
def test_decode_part_has_no_pairs(tmp_path, ranges):
    from edgecompile.graphs.onnx.structure import Structure

    names = {node.name for node in Structure(onnx.load(simplified().model)).decode()}
    for exclude, pairs in (("auto", False), ([], True)):
        structure = Structure(quantized(tmp_path, ranges, exclude=exclude))
        outputs = [node.output[0] for node in structure.nodes if node.name in names]
        readers = [reader.op_type for output in outputs for reader in structure.consumers.get(output, [])]
        assert len(outputs) == len(names)
        assert ("QuantizeLinear" in readers) == pairs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"activations": "int8", "symmetric": True}, {"int8", "int32"}),
        ({"quantize_bias": False}, {"uint8", "int8"}),
    ],
)
def test_other_profiles(tmp_path, ranges, changes, kinds):
    model = quantized(tmp_path, ranges, **changes)
    known = values(model)
    readers = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and len(node.input) > 2]
    assert {known[node.input[2]].dtype.name for node in readers} == kinds
    if changes.get("symmetric"):
        assert not any(known[node.input[2]].any() for node in readers)


@pytest.mark.slow
def test_reduced_range_leaves_a_bit_of_the_weights_free(tmp_path, ranges):
    largest = {}
    for reduced in (False, True):
        weights = [v for v in values(quantized(tmp_path, ranges, reduce_range=reduced)).values() if v.dtype == np.int8]
        largest[reduced] = max(int(np.abs(value.astype(int)).max()) for value in weights)
    assert largest[True] <= 64 < 100 < largest[False]


@pytest.mark.slow
def test_a_quantized_model_is_not_quantized_again(tmp_path, ranges):
    from edgecompile.quantization.qdq import quantize

    quantized(tmp_path, ranges)
    with pytest.raises(StepError, match="quantized already"):
        quantize(tmp_path, model=tmp_path / "model.onnx", ranges=ranges, placement=PLACEMENT, exclude="auto")


def test_an_unused_pattern_is_an_error(tmp_path, ranges):
    with pytest.raises(StepError, match=r"'/model\.99/\*' matches no node"):
        quantized(tmp_path, ranges, exclude=["auto", "/model.99/*"])


@pytest.mark.slow
def test_bytes_depend_on_the_inputs_alone(tmp_path, ranges):
    """Hash seeds matter here: the quantizer keeps its operators and nodes in sets."""
    digests = set()
    paths = {"model": simplified().model, "ranges": ranges}
    params = {"placement": PLACEMENT, "exclude": "auto"}
    for seed in ("1", "77"):
        out = tmp_path / seed
        run_step(out, "edgecompile.quantization.qdq:quantize", paths, params, PYTHONHASHSEED=seed)
        digests.add(hashlib.sha256((out / "model.onnx").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_model_in_fp16_is_no_start_for_int8(tmp_path):
    import onnx

    model = onnx.load(simplified().model)
    weights = next(tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    halves = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights).astype(np.float16), "halves")
    model.graph.initializer.append(halves)
    onnx.save(model, tmp_path / "half.onnx")
    settings = {"pictures": [], "method": "minmax", "percentile": 99.9}
    with pytest.raises(StepError, match=r"in FP16 already .* import the float32 export"):
        calibrate(tmp_path, model=tmp_path / "half.onnx", spec=simplified().spec, **settings)
