"""The backends of TensorRT and TensorRT-RTX against substitutes: there is no GPU here, and no driver.

The driver is a substitute of Python functions on plain memory, the engine one that runs ONNX Runtime. They take what
the real ones take, arguments of ctypes and addresses: what is shown is how they are called, not that the real ones do
what is asked of them.
"""

from __future__ import annotations

import ctypes
import sys
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime import Archive, load
from edgecompile.runtime.backends.tensorrt_rtx import choose_engine, engine_name
from edgecompile.runtime.finalize import finalize
from edgecompile.runtime.machine import architecture
from edgecompile.runtime.nvidia import cuda as cuda_module
from edgecompile.runtime.nvidia.cuda import SIGNATURES, Cuda, driver_version

from .tiny import bundled, golden_members, tiny_manifest, tiny_onnx, tiny_spec

onnxruntime = pytest.importorskip("onnxruntime")


class Driver:
    """A substitute of libcuda: device memory is memory of this process."""

    def __init__(self) -> None:
        self.blocks: dict[int, Any] = {}
        self.calls: list[str] = []
        self.fails: dict[str, int] = {}
        for name, types in SIGNATURES.items():
            setattr(self, name, self._function(name, types))

    def _function(self, name: str, types: tuple[Any, ...]) -> Any:
        body = getattr(self, f"_{name}", lambda *arguments: 0)

        def called(*arguments: Any) -> int:
            self.calls.append(name)
            return self.fails.get(name) or body(*arguments)

        return ctypes.CFUNCTYPE(ctypes.c_int, *types)(called)

    def _write(self, address: int, kind: Any, value: Any) -> int:
        kind.from_address(address).value = value
        return 0

    def _cuDeviceGet(self, place: int, index: int) -> int:
        return self._write(place, ctypes.c_int, 0)

    def _cuDriverGetVersion(self, place: int) -> int:
        return self._write(place, ctypes.c_int, 12060)

    def _cuDeviceGetName(self, place: Any, length: int, device: int) -> int:
        return 0

    def _cuDeviceGetAttribute(self, place: int, number: int, device: int) -> int:
        return self._write(place, ctypes.c_int, {75: 8, 76: 7}[number])

    def _cuDevicePrimaryCtxRetain(self, place: int, device: int) -> int:
        return self._write(place, ctypes.c_void_p, 0xC0)

    def _cuStreamCreate(self, place: int, flags: int) -> int:
        return self._write(place, ctypes.c_void_p, 0x57)

    def _allocate(self, place: int, size: int) -> int:
        block = ctypes.create_string_buffer(size)
        self.blocks[ctypes.addressof(block)] = block
        return self._write(place, ctypes.c_uint64, ctypes.addressof(block))

    _cuMemAlloc_v2 = _cuMemAllocHost_v2 = _allocate

    def _free(self, address: int) -> int:
        del self.blocks[address]
        return 0

    _cuMemFree_v2 = _cuMemFreeHost = _free

    def _copy(self, to: int, source: int, size: int, stream: int) -> int:
        assert stream == 0x57
        ctypes.memmove(to, source, size)
        return 0

    _cuMemcpyHtoDAsync_v2 = _cuMemcpyDtoHAsync_v2 = _copy

    def _cuGetErrorString(self, code: int, place: int) -> int:
        return self._write(place, ctypes.c_char_p, b"out of memory")


class Mode(IntEnum):
    INPUT = 1
    OUTPUT = 2


class Context:
    """A substitute of IExecutionContext: runs an ONNX model on the addresses it is given."""

    def __init__(self, session: Any) -> None:
        self.session, self.addresses, self.shape = session, {}, None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        fixed = self.session.get_inputs()[0].shape
        fits = len(fixed) == len(shape)
        fits = fits and all(isinstance(a, str) or a == b for a, b in zip(fixed, shape, strict=True))
        self.shape = shape if fits else None
        return fits

    def get_tensor_shape(self, name: str) -> list[int]:
        sides = next(one.shape for one in self.session.get_outputs() if one.name == name)
        return [self.shape[0] if isinstance(side, str) else side for side in sides]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 0x57
        entry = self.session.get_inputs()[0]
        kind = np.uint8 if "uint8" in entry.type else np.float32
        size = int(np.prod(self.shape)) * np.dtype(kind).itemsize
        tensor = np.frombuffer(ctypes.string_at(self.addresses[entry.name], size), kind).reshape(self.shape)
        for name, result in zip(
            [one.name for one in self.session.get_outputs()], self.session.run(None, {entry.name: tensor}), strict=True
        ):
            ctypes.memmove(self.addresses[name], result.ctypes.data, result.nbytes)
        return True


class Cache:
    """A substitute of a timing cache or a cache of kernels."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"+"

    def deserialize(self, content: bytes) -> bool:
        self.content = content
        return True


class Engine:
    def __init__(self, content: bytes) -> None:
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.names = [one.name for one in (*self.session.get_inputs(), *self.session.get_outputs())]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name == self.names[0] else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        one = next(one for one in (*self.session.get_inputs(), *self.session.get_outputs()) if one.name == name)
        return "uint8" if "uint8" in one.type else "float32"

    def create_runtime_config(self) -> Any:
        class Config:
            def create_runtime_cache(self) -> Cache:
                return Cache()

            def set_runtime_cache(self, cache: Cache) -> bool:
                return True

        return Config()

    def create_execution_context(self, config: Any = None) -> Context:
        return Context(self.session)


def library(name: str, version: str, seen: dict[str, Any]) -> ModuleType:
    """Returns a substitute of the library whose engine is the ONNX itself."""
    trt = ModuleType(name)
    trt.__version__ = version

    class Logger:
        ERROR = 1

        class Severity(IntEnum):
            INTERNAL_ERROR = 0
            ERROR = 1
            WARNING = 2

        def __init__(self, *_: Any) -> None: ...

    class Config:
        def __setattr__(self, key: str, value: Any) -> None:
            seen[key] = value

        def set_memory_pool_limit(self, pool: str, size: int) -> None:
            seen["pool"] = (pool, size)

        def set_flag(self, flag: str) -> None:
            seen.setdefault("flags", []).append(flag)

        def create_timing_cache(self, content: bytes) -> Cache:
            seen["timings"] = content
            return Cache(content)

        def set_timing_cache(self, cache: Cache, ignore: bool) -> bool:
            seen["cache"] = cache
            return True

        def get_timing_cache(self) -> Cache:
            return seen["cache"]

        def add_optimization_profile(self, profile: Any) -> int:
            return 0

    class Network:
        num_layers = 1

        def get_layer(self, index: int) -> Any:
            layer = ModuleType("layer")
            layer.type = "quantize"
            return layer

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Network:
            seen["network"] = flags
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Any:
            class Profile:
                def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
                    seen["profile"] = (name, shapes)

            return Profile()

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            if seen.get("fails"):
                self.logger.log(Logger.Severity.ERROR, "no implementation\nfor layer 3")
                return None
            return seen["onnx"]

    class Parser:
        num_errors = 0

        def __init__(self, network: Any, logger: Any) -> None: ...

        def parse(self, content: bytes) -> bool:
            seen["onnx"] = content
            return True

    class Runtime:
        def __init__(self, logger: Any) -> None: ...

        def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
            return Engine(content) if content.startswith(b"\x08") else None

    class Flags(IntEnum):
        STRONGLY_TYPED = 1

    trt.ILogger = trt.Logger = Logger
    trt.Builder, trt.OnnxParser, trt.Runtime = Builder, Parser, Runtime
    trt.NetworkDefinitionCreationFlag, trt.TensorIOMode = Flags, Mode
    for group, members in {
        "MemoryPoolType": ["WORKSPACE"],
        "DeviceType": ["DLA"],
        "BuilderFlag": ["GPU_FALLBACK", "FP16", "INT8"],
    }.items():
        setattr(trt, group, type(group, (), {member: member for member in members}))
    trt.LayerType = type("LayerType", (), {"QUANTIZE": "quantize"})
    trt.nptype = np.dtype
    return trt


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setattr(cuda_module.ctypes, "CDLL", lambda name: driver)
    # The figures of a fresh process cannot be had: it would have no substitutes.
    start = {"start_ms": {"open": 1.0, "first_prediction": 1.0, "total": 2.0}, "peak_memory": 1}
    monkeypatch.setattr("edgecompile.runtime.measure.fresh_process", lambda *_: start)
    monkeypatch.setattr("edgecompile.runtime.measure.find_meter", lambda gpu: (None, "no meter"))
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
    with pytest.raises(BundleError, match=r"not one for tensorrt 10\.3\.0"):
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
    with pytest.raises(MissingToolError, match="--system-site-packages"):
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
