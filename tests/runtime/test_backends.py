from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgecompile.errors import BundleError
from edgecompile.runtime import backends
from edgecompile.runtime.backends import choose_file, find_backend, open_backend

from .tiny import tiny_onnx, tiny_spec


@pytest.fixture(params=["onnxruntime", "openvino"])
def kind(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_onnx())
    return path


@pytest.fixture
def ir(onnx_file: Path, tmp_path: Path) -> Path:
    """A folder with the tiny model as OpenVINO IR."""
    openvino = pytest.importorskip("openvino")
    folder = tmp_path / "ir"
    folder.mkdir()
    openvino.save_model(openvino.Core().read_model(str(onnx_file)), str(folder / "model.xml"), compress_to_fp16=False)
    return folder


def tensor(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 3, 64, 96), np.float32)


def opened(kind: str, artifact: Any, **options: Any) -> Any:
    return open_backend(kind, artifact, tiny_spec(), 1, options)


def test_all_ways_to_open_an_artifact_agree(kind: str, onnx_file: Path, ir: Path) -> None:
    (ir / "spec.json").write_text("{}")  # a step's folder holds other files too
    in_memory = {"model.onnx": onnx_file.read_bytes()}
    artifacts: list[Any] = [onnx_file, onnx_file.parent, in_memory]
    if kind == "openvino":
        artifacts += [ir, ir / "model.xml", {path.name: path.read_bytes() for path in ir.iterdir()}]
    results = []
    for artifact in artifacts:
        backend = opened(kind, artifact)
        assert "output0" in backend.outputs[0]
        assert backend.version[0].isdigit()
        results.append(np.array(backend.infer(tensor())[0]))
    assert all(np.abs(result - results[0]).max() < 1e-6 for result in results)


def test_inputs_that_change_in_place_are_seen(kind: str, onnx_file: Path) -> None:
    backend, buffer = opened(kind, onnx_file), tensor()
    first = np.array(backend.infer(buffer)[0])
    buffer[:] = tensor(1)
    second = np.array(backend.infer(buffer)[0])
    assert np.abs(first - second).max() > 1e-5
    assert np.array_equal(np.array(backend.infer(tensor())[0]), first)
    assert np.array_equal(np.array(opened(kind, onnx_file).infer(tensor(1))[0]), second)


def test_what_is_no_model_is_an_error_of_one_line(kind: str, tmp_path: Path) -> None:
    for artifact in ({"model.onnx": b"no model"}, {"model.onnx": b""}, {"other": b""}, {}):
        with pytest.raises(BundleError) as caught:
            opened(kind, artifact)
        assert "\n" not in str(caught.value)
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(tiny_onnx())
    with pytest.raises(BundleError, match="expected one"):
        opened(kind, tmp_path)


def test_options_reach_onnxruntime(onnx_file: Path) -> None:
    pytest.importorskip("onnxruntime")
    options = {"graph_optimization_level": "ORT_DISABLE_ALL", "session.intra_op.allow_spinning": "0"}
    session = opened("onnxruntime", onnx_file, **options)._session
    assert session.get_session_options().graph_optimization_level.name == "ORT_DISABLE_ALL"
    assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert session.get_session_options().intra_op_num_threads == 1
    assert session.get_providers() == ["CPUExecutionProvider"]
    for wrong in ({"graph_optimization_level": "MAGIC"}, {"enable_mem_pattern": "perhaps"}):
        with pytest.raises(BundleError, match="onnxruntime"):
            opened("onnxruntime", onnx_file, **wrong)


def test_options_reach_openvino(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    import os

    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    options = {"INFERENCE_PRECISION_HINT": "f32", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16"}
    backend = opened("openvino", onnx_file, **options)
    assert backend._compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert backend._compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX512_CORE_FP16"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    opened("openvino", onnx_file, **options)
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"  # what a person has set stays
    with pytest.raises(BundleError, match="NO_SUCH_PROPERTY"):
        opened("openvino", onnx_file, NO_SUCH_PROPERTY="1")


def test_a_device_that_is_not_here_is_an_error_that_names_those_that_are(onnx_file: Path) -> None:
    openvino = pytest.importorskip("openvino")
    here = openvino.Core().available_devices
    for asked in ("NPU", "GPU.7", "AUTO:NPU,GPU.7"):
        if any(one in here for one in ("NPU", "GPU.7")):
            pytest.skip("this machine has such a device")
        with pytest.raises(BundleError, match=f"which is not here: available is {here[0]}") as caught:
            opened("openvino", onnx_file, DEVICE=asked)
        assert "\n" not in str(caught.value)


def test_openvino_takes_the_first_device_that_is_here(onnx_file: Path) -> None:
    pytest.importorskip("openvino")
    precisions = {"CPU": {"INFERENCE_PRECISION_HINT": "f32"}, "GPU.7": {"INFERENCE_PRECISION_HINT": "f16"}}
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "ENABLE_STARTUP_FALLBACK": False, "DEVICE_PROPERTIES": precisions}
    backend = opened("openvino", onnx_file, DEVICE="AUTO:GPU.7,CPU", **options)
    assert backend.device == "AUTO:CPU"
    assert backend._compiled.get_property("EXECUTION_DEVICES") == ["CPU"]
    of_cpu = backend._compiled.get_property("DEVICE_PROPERTIES")["CPU"]
    assert of_cpu["INFERENCE_PRECISION_HINT"].to_string() == "f32"
    assert of_cpu["INFERENCE_NUM_THREADS"] == 1
    wanted = opened("openvino", onnx_file, INFERENCE_PRECISION_HINT="f32").infer(tensor())[0]
    assert np.array_equal(backend.infer(tensor())[0], wanted)
    request = backend.requests()[0]
    request.start(tensor())
    assert np.array_equal(request.wait()[0], wanted)


def test_openvino_keeps_its_converter_for_those_who_ask(tmp_path: Path) -> None:
    """The runtime imports openvino without its converter; in that process it must still be there when asked for."""
    pytest.importorskip("openvino")
    import subprocess

    code = (
        "import sys; from edgecompile.runtime.backends.openvino import import_openvino; o = import_openvino();"
        "assert 'openvino.tools.ovc' not in sys.modules; assert callable(o.convert_model);"
        "assert not hasattr(o, 'nothing'); import openvino.tools.ovc; assert import_openvino() is o"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(Path(__file__).parents[2])})


def test_finds_backends_by_file_name_and_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign:
        name = "foreign"
        options: ClassVar[dict[str, Any]] = {}
        distributions = ("theirs",)

        @classmethod
        def load(cls) -> type:
            return cls

    monkeypatch.setattr(backends, "entry_points", lambda group: [Foreign] if group == "edgecompile.backends" else [])
    assert find_backend("foreign") is Foreign
    monkeypatch.delattr(Foreign, "options")
    with pytest.raises(BundleError, match="does not say which options it takes"):
        find_backend("foreign")
    assert find_backend("onnxruntime").__module__ == "edgecompile.runtime.backends.onnxruntime"
    for name in ("__init__", "../spec", "Foreign", ""):
        with pytest.raises(BundleError, match="does not have"):
            find_backend(name)


def test_chooses_the_one_file_of_a_kind() -> None:
    assert choose_file({"model.xml": b"", "model.bin": b""}, ".bin") == "model.bin"
    assert choose_file(Path("x/model.onnx"), ".onnx") == "model.onnx"
    with pytest.raises(BundleError, match="found nothing"):
        choose_file({}, ".bin")
