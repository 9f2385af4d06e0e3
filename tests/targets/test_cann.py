"""Huawei Ascend: what goes into the bundle, its accuracy beside float, and what is said to the device's tools.

Neither a chip nor CANN can be here: `npu-smi`, `atc`, `amct_onnx` and `acl` are the FAKES of ascend.py. What is real:
the ONNX, aipp.cfg, the command line and every message. test_cann_finalize.py has the flow of `edgecompile finalize`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from ascend import AMCT, NPU_SMI, fake_board
from exported import CHECKPOINT, EXPORT, exported, pictures, run_step, simplified

from edgecompile.errors import BundleError, MissingToolError, StepError
from edgecompile.graphs.onnx.cann_onnx import compile_cann, coverage
from edgecompile.graphs.onnx.fp16_simulation import simulate
from edgecompile.passes.int8_static import Int8Static
from edgecompile.passes.simplify import OPTIMIZATIONS, simplify
from edgecompile.quantization.qdq import calibrate, quantize
from edgecompile.runtime import open_artifact
from edgecompile.runtime.aipp import config_of, preprocess, read_config
from edgecompile.runtime.backends.cann import Backend
from edgecompile.targets.cann import Cann

pytestmark = pytest.mark.slow

TARGET = Cann(kind="cann", device="a board", memory_mb=1, soc=("Ascend310B4",))
OPTIONS = TARGET.proxy_backend()[2]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> SimpleNamespace:
    """The sample in float, as it ships for a chip."""
    folder = tmp_path_factory.mktemp("float")
    run_step(folder, "edgecompile.passes.onnx_export:export", {"weights": CHECKPOINT}, {**EXPORT, "opset": 17})
    (folder / "simple").mkdir()
    spec, model = folder / "spec.json", folder / "simple" / "model.onnx"
    simplify(folder / "simple", model=folder / "model.onnx", spec=spec, optimizations=list(OPTIMIZATIONS))
    (folder / "out").mkdir()
    facts = compile_cann(folder / "out", model=model, spec=spec)
    return SimpleNamespace(folder=folder / "out", facts=facts, model=model)


@pytest.fixture(scope="module")
def quantized(compiled, tmp_path_factory) -> SimpleNamespace:
    """The sample in INT8, as it ships for a chip."""
    folder = tmp_path_factory.mktemp("int8")
    spec, train = simplified().spec, pictures("train", 8)
    calibrate(folder, model=compiled.model, spec=spec, pictures=train, method="minmax", percentile=99.9)
    placement = TARGET.placement(Int8Static())
    quantize(folder, model=compiled.model, ranges=folder / "ranges.json", placement=placement, exclude="auto")
    (folder / "out").mkdir()
    facts = compile_cann(folder / "out", model=folder / "model.onnx", spec=spec)
    return SimpleNamespace(folder=folder / "out", facts=facts)


def opened(folder: Path):
    return open_artifact(folder, folder / "spec.json", "aipp", OPTIONS, 1)


def test_the_stand_in_finds_what_the_float_model_finds(compiled):
    reference = open_artifact(exported().model, exported().spec, "onnxruntime", {}, 1)
    for picture in pictures("val", 2):
        ours, theirs = opened(compiled.folder).predict(picture), reference.predict(picture)
        assert ours.classes.tolist() == theirs.classes.tolist()
        assert np.allclose(ours.boxes, theirs.boxes, atol=0.1)


def test_wrong_aipp_settings_would_show(compiled, tmp_path):
    """The negative control of the stand-in: it does what the file says, not what is right."""
    picture = pictures("val", 1)[0]
    good = opened(compiled.folder).predict(picture)
    for name in ("model.onnx", "spec.json"):
        (tmp_path / name).write_bytes((compiled.folder / name).read_bytes())
    text = (compiled.folder / "aipp.cfg").read_text()
    for wrong in (text.replace("rbuv_swap_switch: true", "rbuv_swap_switch: false"), text.replace("0.0039", "0.0139")):
        assert wrong != text
        (tmp_path / "aipp.cfg").write_text(wrong)
        found = opened(tmp_path).predict(picture)
        assert len(found) != len(good) or not np.allclose(found.scores, good.scores, atol=0.01)


def test_aipp_follows_the_preprocessing_of_the_spec():
    read = json.loads(exported().spec.read_text())
    pixels = {**read, "input": {**read["input"], "color": "BGR"}}
    read["letterbox"]["size"] = [2, 2]
    read["input"].update(mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 1.0])
    settings = read_config(config_of(read, pixels))
    picture = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3) * 20
    wanted = (picture[..., ::-1] / 255 - read["input"]["mean"]) / read["input"]["std"]
    assert np.allclose(preprocess(picture, settings), wanted.transpose(0, 3, 1, 2), atol=1e-5)
    with pytest.raises(BundleError, match="2x2x3"):
        preprocess(picture[:, :1], settings)


def test_int8_pairs_are_those_that_amct_reads(quantized):
    graph = onnx.load(quantized.folder / "model.onnx").graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    pairs = 0
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
            (reader,) = [other for other in graph.node if node.output[0] in other.input]
            assert reader.op_type == "DequantizeLinear"
            assert list(reader.input[1:]) == list(node.input[1:])  # a pair has one scale
        if node.op_type == "Conv" and producer.get(node.input[1]) is not None:
            assert [producer[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
            assert len(node.input) < 3 or node.input[2] in constants  # biases stay in float
            pairs += 1
    assert pairs > 50
    assert {node.op_type for node in graph.node if "DequantizeLinear" in {
        producer[name].op_type for name in node.input if name in producer}} == {"Conv"}  # fmt: skip
    assert len(opened(quantized.folder).predict(pictures("val", 1)[0])) > 0


def test_operators_are_compared_with_the_documented_list(compiled, quantized):
    assert compiled.facts["coverage"]["not_covered"] == {}
    assert set(quantized.facts["coverage"]["converted"]) == {"QuantizeLinear", "DequantizeLinear"}
    assert "CANN 8.0.0" in quantized.facts["coverage"]["source"]
    assert coverage({"Conv": 3, "ArgMax": 1, "Mish": 2})["not_covered"] == {"Mish": 2}  # the list writes Argmax
    report = json.loads((compiled.folder / "operators.json").read_text())
    assert report == compiled.facts["coverage"]


def test_what_cann_cannot_read_fails_the_step(compiled, tmp_path):
    with pytest.raises(StepError, match="opset 18") as raised:
        compile_cann(tmp_path, model=simplified().model, spec=simplified().spec)
    assert "passes.onnx_export.opset=17" in str(raised.value)
    model = onnx.load(compiled.model)
    next(node for node in model.graph.node if node.op_type == "Sigmoid").op_type = "Mish"
    onnx.save(model, tmp_path / "mish.onnx")
    with pytest.raises(StepError, match=r"lacks Mish \(1\)"):
        compile_cann(tmp_path, model=tmp_path / "mish.onnx", spec=simplified().spec)
    assert not (tmp_path / "model.onnx").exists()


@pytest.fixture
def board(tmp_path, monkeypatch) -> SimpleNamespace:
    return fake_board(tmp_path, monkeypatch)


def artifact_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "spec.json"}


def built(folder: Path, out: Path):
    out.mkdir()
    spec = json.loads((folder / "spec.json").read_text())
    Backend.build(artifact_of(folder), spec, {}, out, out)
    return open_artifact(out, spec, "cann", {}, 1)


def test_a_model_is_built_for_the_chip_that_npu_smi_names_and_runs_through_acl(board, quantized, tmp_path):
    assert Backend.device({}) == {"runtime": "8.0.0", "soc": "Ascend310B4", "driver": "23.0.rc3"}
    detector = built(quantized.folder, tmp_path / "out")
    assert json.loads(board.log.read_text()) == {
        "framework": "5",
        "model": "converted_deploy_model.onnx",  # AMCT converts Q/DQ first
        "output": "model",
        "soc_version": "Ascend310B4",
        "input_format": "NCHW",
        "input_shape": "images:1,3,192,256",
        "insert_op_conf": "aipp.cfg",
    }
    picture = pictures("val", 1)[0]
    (tmp_path / "rounded").mkdir()  # as the fake chip computes
    simulate(tmp_path / "rounded", artifact=quantized.folder, everything=True)
    (tmp_path / "rounded" / "spec.json").write_bytes((quantized.folder / "spec.json").read_bytes())
    found, wanted = detector.predict(picture), opened(tmp_path / "rounded").predict(picture)
    assert np.array_equal(found.boxes, wanted.boxes)
    assert len(found) > 0
    assert detector.backend.version == "8.0.0"


@pytest.mark.parametrize("kind", ["compiled", "quantized"])
def test_atc_sh_says_the_same_to_atc_as_finalize_does(board, kind, request, tmp_path):
    folder = request.getfixturevalue(kind).folder
    built(folder, tmp_path / "out")
    said = json.loads(board.log.read_text())
    board.log.unlink()
    for name, content in artifact_of(folder).items():
        (tmp_path / name).write_bytes(content)
    (board.tools / "python3").symlink_to(sys.executable)
    done = subprocess.run(["sh", "atc.sh"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(board.log.read_text()) == said
    assert (tmp_path / "model.om").is_file()


def test_what_is_missing_on_the_device_is_named_in_one_line(board, quantized, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    spec = json.loads((quantized.folder / "spec.json").read_text())

    def refused(kind) -> str:
        with pytest.raises(kind) as raised:
            Backend.build(artifact_of(quantized.folder), spec, {}, out, out)
        assert "\n" not in str(raised.value)
        assert not list(out.iterdir())
        return str(raised.value)

    (board.site / "amct_onnx.py").unlink()
    assert "amct_onnx is not installed" in refused(MissingToolError)
    (board.site / "amct_onnx.py").write_text(AMCT)
    (board.tools / "npu-smi").write_text(NPU_SMI.replace("310B4", "310B9"))
    assert "atc failed (exit code 1): E10001: Value [Ascend310B9] is invalid." in refused(BundleError)
    (board.tools / "npu-smi").write_text(NPU_SMI.replace("310B4", "910B "))
    assert "no Ascend 310 chip" in refused(BundleError)
    monkeypatch.delenv("ASCEND_TOOLKIT_HOME")
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    (board.tools / "npu-smi").write_text(NPU_SMI)
    assert "no CANN toolkit" in refused(MissingToolError)
    (board.tools / "atc").unlink()
    assert "atc is not found" in refused(MissingToolError)
    assert MissingToolError("").exit_code == 4


def test_int8_says_that_its_weights_are_in_float_until_the_device_builds_it():
    said = "larger than the float model"
    assert [said in " ".join(TARGET.warnings(precision)) for precision in ("int8", "fp16", "fp32")] == [
        True,
        False,
        False,
    ]
