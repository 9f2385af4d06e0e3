"""TensorRT on NVIDIA Jetson, and on PCs and servers: the engine is built on the device, from a strongly typed ONNX."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, cast

from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime.backends import Setting, read_onnx
from edgecompile.runtime.knobs import Knob, Site, of_option
from edgecompile.runtime.layer_timings import Feed, LayerTimings, Rounds
from edgecompile.runtime.nvidia import builder, engine_layers, session
from edgecompile.runtime.nvidia.cuda import Cuda
from edgecompile.runtime.options import Option, Options, Whole
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np

ENGINE, TIMINGS = "model.engine", "timing.cache"
MIB = 1 << 20
LEVEL, TIMINGS_OF_EACH = "builder_optimization_level", "avg_timing_iterations"
WORKSPACE_MB, WORKSPACE = 1024, Whole(16, 65536)

ON_X86 = "pip install 'edgecompile[tensorrt]'"
ON_A_JETSON = (
    "on a Jetson: sudo apt install python3-libnvinfer, and a virtual environment of the system's Python made with "
    "--system-site-packages"
)


class Backend:
    """One engine on the GPU.

    Options:
        workspace_mb: memory that TensorRT may use while it builds and runs, in MiB.
        dla: number of the deep learning accelerator that takes what it can; None for the GPU alone.
        builder_optimization_level: how long TensorRT looks for quick kernels: 3 where left out, 5 for longest.
        avg_timing_iterations: how often it times each of them.
    """

    gpu = True
    options: ClassVar[Mapping[str, Option]] = {
        "workspace_mb": WORKSPACE,
        "dla": Whole(0, 1, optional=True),
        LEVEL: Whole(0, 5),
        TIMINGS_OF_EACH: Whole(1, 64),
    }
    distributions: ClassVar[tuple[str, ...]] = ("tensorrt",)

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: SpecDocument, threads: int, options: Options
    ) -> None:
        trt = import_library()
        self.version: str = trt.__version__
        if not isinstance(artifact, Path):
            raise BundleError("a TensorRT engine is opened where `edgecompile finalize` put it")
        engine = (artifact / ENGINE).read_bytes()
        self._session = session.Session(trt, Cuda(), engine, dla=cast("int | None", options.get("dla")))
        self.outputs = tuple(frozenset([name]) for name in self._session.outputs)

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        return self._session.infer(tensor)

    def requests(self, at_once: int | None = None) -> list[session.Session]:
        """Returns sessions of the one engine, which run beside each other."""
        return [self._session.another() for _ in range((at_once or session.IN_FLIGHT - 1) + 1)]

    @staticmethod
    def knobs(setting: Setting, site: Site) -> list[Knob]:
        """Returns what TensorRT's builder leaves open. Each alternative is an engine of its own."""
        return [
            of_option("builder level", LEVEL, {"4": 4, "5": 5}, setting, 3),
            of_option("timings", TIMINGS_OF_EACH, {"8": 8}, setting, 1),
            of_option("workspace", "workspace_mb", {"4096 MB": 4096}, setting, WORKSPACE_MB),
        ]

    @classmethod
    def time_layers(
        cls,
        artifact: Path | Mapping[str, bytes],
        spec: SpecDocument,
        threads: int,
        options: Options,
        feed: Feed,
        rounds: Rounds,
    ) -> LayerTimings:
        """Times each layer by the library's profiler; see `edgecompile.runtime.backends.TimesLayers`."""
        opened = cls(artifact, spec, threads, options)
        return engine_layers.time_layers(import_library(), opened._session, feed, rounds)

    @staticmethod
    def device(options: Options) -> dict[str, str]:
        return {"runtime": str(import_library().__version__), **Cuda().facts()}

    @staticmethod
    def build(artifact: Mapping[str, bytes], spec: SpecDocument, options: Options, out: Path, kept: Path) -> None:
        trt = import_library()
        Cuda()  # the context that TensorRT then shares
        dla = cast("int | None", options.get("dla"))
        workspace_mb = cast("int", options.get("workspace_mb", WORKSPACE_MB))
        timings = kept / TIMINGS
        with builder.Network(trt, read_onnx(artifact), spec, typed=dla is None) as network:
            network.config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb * MIB)
            network.take_timings(timings.read_bytes() if timings.exists() else b"")
            for name in (LEVEL, TIMINGS_OF_EACH):
                if name in options:
                    setattr(network.config, name, options[name])
            if dla is not None:
                network.prefer_dla(dla)
            try:
                engine = network.build()
            finally:
                timings.write_bytes(network.timings())
        (out / ENGINE).write_bytes(engine)


def import_library() -> ModuleType:
    """Imports TensorRT.

    Raises:
        MissingToolError: it is not installed, or not for this Python.
    """
    try:
        import tensorrt
    except ImportError as error:
        fix = ON_X86 if platform.machine() == "x86_64" else ON_A_JETSON
        raise MissingToolError(f"tensorrt cannot be imported ({error})", fix=fix) from error
    return tensorrt
