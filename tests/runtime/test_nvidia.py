"""The backends of TensorRT and TensorRT-RTX against substitutes: there is no GPU here, and no driver.

The driver is a substitute of Python functions on plain memory, the engine one that runs ONNX Runtime. They take what
the real ones take, arguments of ctypes and addresses: what is shown is how they are called, not that the real ones do
what is asked of them.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime import Archive, load, machine
from edgecompile.runtime.backends.tensorrt_rtx import choose_engine, engine_name
from edgecompile.runtime.finalize import finalize
from edgecompile.runtime.machine import architecture
from edgecompile.runtime.measurement import PARTS, Measurement, Percentiles
from edgecompile.runtime.nvidia import cuda as cuda_module
from edgecompile.runtime.nvidia.cuda import Cuda, driver_version

from .nvidia_substitutes import Driver, Engine, library
from .tiny import bundled, golden_members, photo, tiny_manifest, tiny_onnx, tiny_spec

pytest.importorskip("onnxruntime")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setattr(cuda_module.ctypes, "CDLL", lambda name: driver)
    # A fresh process would have no substitutes, so nothing can be measured in one: the figures are invented.
    ranks = {part: Percentiles(1.0, 2.0, 3.0) for part in PARTS}
    invented = Measurement(machine.describe(), 1, latency_ms=ranks, fps=1000.0, peak_memory_mb=1.0)
    monkeypatch.setattr("edgecompile.runtime.finalize.measure", lambda *_: invented)
    return driver


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> dict[str, Any]:
    """What the substitutes of both libraries were told."""
    seen: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "tensorrt", library("tensorrt", "10.3.0", seen))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library("tensorrt_rtx", "1.7.1.116", seen))
    return seen


def bundle(folder: Path, backend: str, artifact: dict[str, bytes], options: dict[str, Any], **spec: Any) -> Path:
    """Writes a bundle of the tiny model for a backend."""
    import json

    from edgecompile.runtime import open_artifact

    model = folder / "model.onnx"
    model.write_bytes(artifact["model.onnx"])
    detector = open_artifact(model, tiny_spec(embedded=True, **spec), "onnxruntime", {}, 1)
    runtime = {"tensorrt": ["tensorrt", ">=10.3,<12"], "tensorrt_rtx": ["tensorrt-rtx", ">=1.7,<1.8"]}[backend]
    facts = {"arch": architecture(), "finalize": True, "options": options, "runtime": runtime}
    manifest = tiny_manifest(backend, constraints={"sm": ["8.7"]}, **facts)
    manifest["gates"] = []
    members = {f"artifact/{name}": content for name, content in artifact.items()}
    members |= {"spec.json": json.dumps(detector.spec).encode(), **golden_members(detector)}
    path = folder / "x.bundle.zip"
    path.write_bytes(bundled(members, manifest))
    return path


JETSON = {"workspace_mb": 64, "dla": None}


def test_a_jetson_builds_keeps_its_timings_and_predicts(
    seen: dict[str, Any], driver: Driver, tmp_path: Path, pictures: Path
) -> None:
    path = bundle(tmp_path, "tensorrt", {"model.onnx": tiny_onnx(embedded=True)}, JETSON)
    with Archive(path) as archive:
        record = finalize(archive)
    assert record["accepted"]
    assert record["facts"]["sm"] == "8.7"
    assert record["facts"]["cuda"] == "12.6"
    assert record["runtime"] == ["tensorrt", "10.3.0"]
    assert seen["network"] == 1 << 1  # strongly typed
    assert seen["pool"] == ("WORKSPACE", 64 << 20)
    assert (Path(record["folder"]) / "cache" / "timing.cache").read_bytes() == b"+"
    model = load(path)
    assert len(model.predict(pictures / "a.jpg")) > 0
    with Archive(path) as archive:
        finalize(archive, rebuild=True)
    assert seen["timings"] == b"+"  # the next build begins with what the first one found out


def test_pictures_of_a_stream_have_contexts_and_cuda_streams_of_their_own(
    seen: dict[str, Any], driver: Driver, tmp_path: Path
) -> None:
    """The substitutes run at once what is begun: what is shown is that each picture has buffers of its own."""
    path = bundle(tmp_path, "tensorrt", {"model.onnx": tiny_onnx(embedded=True)}, JETSON)
    with Archive(path) as archive:
        finalize(archive)
    model = load(path)
    wanted = [model.predict(photo(50, 60, number)) for number in range(8)]
    before = driver.calls.count("cuStreamCreate")
    with model.stream(photo(50, 60, number) for number in range(8)) as stream:
        found = list(stream)
        assert stream.pipeline.requests == 3
    assert [one.scores.tolist() for one in found] == [one.scores.tolist() for one in wanted]
    assert driver.calls.count("cuStreamCreate") - before == 3
    del stream, model
    gc.collect()
    assert not driver.blocks
    assert driver.calls.count("cuStreamDestroy_v2") == 3


def test_memory_of_the_gpu_is_given_back(seen: dict[str, Any], driver: Driver, tmp_path: Path, pictures: Path) -> None:
    path = bundle(tmp_path, "tensorrt", {"model.onnx": tiny_onnx(embedded=True)}, JETSON)
    with Archive(path) as archive:
        finalize(archive)
    model = load(path)
    model.predict(pictures / "a.jpg")
    assert len(driver.blocks) == 3  # input and output there, output here
    del model
    assert not driver.blocks


def test_shapes_may_change_within_the_profile(
    seen: dict[str, Any], driver: Driver, tmp_path: Path, pictures: Path
) -> None:
    from edgecompile.runtime.backends.tensorrt import Backend

    onnx = tiny_onnx(embedded=True, batch=None)
    spec = tiny_spec(embedded=True, batch=None)
    out, kept = tmp_path / "out", tmp_path / "kept"
    out.mkdir()
    kept.mkdir()
    with pytest.raises(BundleError, match="no profile"):
        Backend.build({"model.onnx": onnx}, spec, JETSON, out, kept)
    shapes = {name: [count, *spec["input"]["shape"][1:]] for name, count in (("min", 1), ("opt", 2), ("max", 4))}
    spec["input"]["profile"] = shapes
    Backend.build({"model.onnx": onnx}, spec, JETSON, out, kept)
    assert seen["profile"] == ("images", tuple(tuple(shapes[name]) for name in ("min", "opt", "max")))
    backend = Backend(out, spec, 1, JETSON)
    for count in (1, 4, 2, 2):
        tensor = np.random.default_rng(count).integers(0, 255, (count, *spec["input"]["shape"][1:]), np.uint8)
        wanted = Engine(onnx).session.run(None, {"images": tensor})[0]
        np.testing.assert_array_equal(backend.infer(tensor)[0], wanted)
    with pytest.raises(BundleError, match="does not take an input"):
        backend.infer(np.zeros((1, 2, 2, 3), np.uint8))


@pytest.mark.parametrize(("version", "typed"), [("10.3.0", False), ("11.4.1", True)])
def test_a_dla_takes_what_it_can(
    version: str, typed: bool, seen: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecompile.runtime.backends.tensorrt import Backend

    monkeypatch.setitem(sys.modules, "tensorrt", library("tensorrt", version, seen))
    Backend.build({"model.onnx": tiny_onnx()}, tiny_spec(), {"workspace_mb": 64, "dla": 1}, tmp_path, tmp_path)
    assert (seen["default_device_type"], seen["DLA_core"]) == ("DLA", 1)
    assert (seen["network"] > 0) is typed
    assert seen["flags"] == (["GPU_FALLBACK"] if typed else ["GPU_FALLBACK", "FP16", "INT8"])


def test_a_failed_build_says_why_and_keeps_its_timings(seen: dict[str, Any], tmp_path: Path) -> None:
    path = bundle(tmp_path, "tensorrt", {"model.onnx": tiny_onnx(embedded=True)}, JETSON)
    seen["fails"] = True
    with Archive(path) as archive, pytest.raises(BundleError, match="no implementation for layer 3"):
        finalize(archive)
    assert len(list(tmp_path.glob("*.device/*/cache/timing.cache"))) == 1
    assert not list(tmp_path.glob("*.device/*/engine-*"))


def test_an_rtx_takes_its_engine_out_of_the_bundle_and_keeps_its_kernels(
    seen: dict[str, Any], driver: Driver, tmp_path: Path, pictures: Path
) -> None:
    onnx = tiny_onnx(embedded=True)
    artifact = {"model.onnx": onnx, engine_name([86, 89]): b"not this", engine_name([87]): onnx}
    path = bundle(tmp_path, "tensorrt_rtx", artifact, {})
    with Archive(path) as archive:
        record = finalize(archive)
    assert set(record["engine"]["files"]) == {"model.engine", "kernels.cache"}
    assert len(load(path).predict(pictures / "a.jpg")) > 0


def test_an_engine_is_chosen_by_compute_capability() -> None:
    names = dict.fromkeys(["model.onnx", "sm75.engine", "sm86-89-120.engine"], b"")
    assert choose_engine(names, "7.5") == "sm75.engine"
    assert choose_engine(names, "12.0") == "sm86-89-120.engine"
    with pytest.raises(BundleError, match=r"SM 8\.7"):
        choose_engine(names, "8.7")


def test_an_engine_of_another_library_is_refused(seen: dict[str, Any], tmp_path: Path) -> None:
    from edgecompile.runtime.backends.tensorrt import Backend

    (tmp_path / "model.engine").write_bytes(b"of another")
    with pytest.raises(BundleError, match=r"does not fit tensorrt 10\.3\.0"):
        Backend(tmp_path, tiny_spec(), 1, JETSON)


def test_what_the_driver_refuses_is_said(driver: Driver, tmp_path: Path) -> None:
    driver.fails["cuMemAlloc_v2"] = 2
    with pytest.raises(BundleError, match=r"cuMemAlloc_v2: out of memory, 2"):
        Cuda(root=tmp_path).allocate(8)
    driver.fails["cuInit"] = 100
    with pytest.raises(BundleError, match="cuInit"):
        Cuda(root=tmp_path)


def test_without_a_driver_or_a_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecompile.runtime.backends import tensorrt, tensorrt_rtx

    if not Path("/dev/nvidia0").exists():
        with pytest.raises(BundleError, match="no NVIDIA driver"):
            Cuda()
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    for processor, said in (("aarch64", "--system-site-packages"), ("x86_64", r"edgecompile\[tensorrt\]")):
        monkeypatch.setattr(tensorrt.platform, "machine", lambda processor=processor: processor)
        with pytest.raises(MissingToolError, match=said):
            tensorrt.Backend.device({})
    with pytest.raises(MissingToolError, match=r"edgecompile\[tensorrt-rtx\]"):
        tensorrt_rtx.Backend.device({})


def test_versions_of_the_driver(tmp_path: Path) -> None:
    assert driver_version(tmp_path) == "unknown"
    module = tmp_path / "proc/driver/nvidia"
    module.mkdir(parents=True)
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\n"
    (module / "version").write_text(line)
    assert driver_version(tmp_path) == "580.65.06"
    (tmp_path / "etc").mkdir()
    release = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
    (tmp_path / "etc/nv_tegra_release").write_text(release)
    assert driver_version(tmp_path) == "36.4.3"


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_layers_are_those_that_the_engine_reports(
    backend: str, seen: dict[str, Any], driver: Driver, tmp_path: Path
) -> None:
    """What is shown is how reports become a profile; the names are TensorRT's own, the times are invented."""
    from edgecompile.runtime.layer_times import layer_times
    from edgecompile.runtime.layer_timings import Rounds

    (tmp_path / "model.engine").write_bytes(tiny_onnx(embedded=True))
    profile = layer_times(tmp_path, tiny_spec(embedded=True), backend, {}, 1, rounds=Rounds(1, 3))
    assert [(layer.operator, layer.ms) for layer in profile.layers] == [
        ("Reformat", 0.25),
        ("Mul", 1.5),
        ("ForeignNode", 0.5),
    ]
    assert profile.layers[1].nodes == ("/model.0/conv/Conv", "/model.0/act/Sigmoid", "/model.0/act/Mul")
    assert profile.fusions() == [("Mul", ("Conv", "Sigmoid", "Mul"), 1)]
    assert profile.ms_of(["/model.0/act/Sigmoid"]) == 1.5
    assert profile.runs == 3
