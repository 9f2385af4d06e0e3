"""Substitutes of NVIDIA's driver and of TensorRT's libraries, which need a GPU: Python functions on plain memory, and
engines that run ONNX Runtime. They take what the real ones take, arguments of ctypes and addresses."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgecompile.runtime.nvidia.cuda import SIGNATURES

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


LAYERS = (
    ("Reformatting CopyNode for Input Tensor 0 to /model.0/conv/Conv", 0.25),
    ("/model.0/conv/Conv + PWN(PWN(/model.0/act/Sigmoid), /model.0/act/Mul)", 1.5),
    ("{ForeignNode[/model.10/Reshape.../model.23/Concat_5]}", 0.5),
)
"""What an engine reports of each run, in the words of TensorRT."""


class Mode(IntEnum):
    INPUT = 1
    OUTPUT = 2


class Context:
    """A substitute of IExecutionContext: runs an ONNX model on the addresses it is given."""

    def __init__(self, session: Any) -> None:
        self.session, self.addresses, self.shape = session, {}, None
        self.profiler: Any = None

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
        if self.profiler is not None:
            for name, ms in LAYERS:
                self.profiler.report_layer_time(name, ms)
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

    class IProfiler:
        def __init__(self) -> None: ...

    trt.IProfiler = IProfiler

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
