"""TensorRT-RTX on the GPU of a PC: engines come ahead of time with the bundle, kernels are finished on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from edgecompile.errors import BundleError
from edgecompile.runtime.backends import missing
from edgecompile.runtime.layer_timings import Feed, LayerTimings, Rounds
from edgecompile.runtime.nvidia import builder, engine_layers, session
from edgecompile.runtime.nvidia.cuda import Cuda
from edgecompile.runtime.options import Option, Options
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np

ENGINE, KERNELS = "model.engine", "kernels.cache"


class Backend:
    """One engine on the first GPU. It has no options."""

    gpu = True
    options: ClassVar[Mapping[str, Option]] = {}
    distributions: ClassVar[tuple[str, ...]] = ("tensorrt-rtx",)

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: SpecDocument, threads: int, options: Options
    ) -> None:
        trt = import_library()
        self.version = release(trt)
        folder = Path(artifact) if isinstance(artifact, (str, Path)) else None
        if folder is None:
            raise BundleError("a TensorRT-RTX engine is opened where `edgecompile finalize` put it")
        kernels = folder / KERNELS
        self._session = session.Session(
            trt, Cuda(), (folder / ENGINE).read_bytes(), kernels=kernels.read_bytes() if kernels.exists() else None
        )
        self.outputs = tuple(frozenset([name]) for name in self._session.outputs)

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        return self._session.infer(tensor)

    def requests(self, at_once: int | None = None) -> list[session.Session]:
        """Returns sessions of the one engine, which run beside each other."""
        return [self._session.another() for _ in range((at_once or session.IN_FLIGHT - 1) + 1)]

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
        return {"runtime": release(import_library()), **Cuda().facts()}

    @staticmethod
    def build(artifact: Mapping[str, bytes], spec: SpecDocument, options: Options, out: Path, kept: Path) -> None:
        """Takes the engine of this GPU out of the bundle, and lets TensorRT-RTX finish its kernels once."""
        import numpy as np

        trt, cuda = import_library(), Cuda()
        engine = artifact[choose_engine(artifact, cuda.facts()["sm"])]
        (out / ENGINE).write_bytes(engine)
        before = kept / KERNELS
        opened = session.Session(trt, cuda, engine, kernels=before.read_bytes() if before.exists() else b"")
        for shape in session.shapes_of(spec):
            opened.infer(np.zeros(shape, np.uint8))
        kernels = opened.kernels()
        if kernels:
            (out / KERNELS).write_bytes(kernels)
            before.write_bytes(kernels)


def import_library() -> ModuleType:
    """Imports TensorRT-RTX, under the name of its whole package or of its bindings alone.

    Raises:
        MissingToolError: neither is installed.
    """
    try:
        import tensorrt_rtx
    except ModuleNotFoundError:
        try:
            import tensorrt_rtx_bindings as tensorrt_rtx
        except ImportError as error:
            raise missing("tensorrt-rtx", "tensorrt-rtx", error) from error
    except ImportError as error:
        raise missing("tensorrt-rtx", "tensorrt-rtx", error) from error
    return tensorrt_rtx


def release(trt: ModuleType) -> str:
    return str(trt.__version__)


def engine_name(sms: Sequence[int]) -> str:
    """Returns the file name of the engine for some compute capabilities, such as "sm86-89-120.engine"."""
    return f"sm{'-'.join(str(sm) for sm in sms)}.engine"


def choose_engine(names: Mapping[str, bytes], sm: str) -> str:
    """Returns the name of the engine for a compute capability such as "8.9".

    Raises:
        BundleError: the bundle holds none.
    """
    number = sm.replace(".", "")
    for name in sorted(names):
        if name.endswith(".engine") and number in name.removeprefix("sm").removesuffix(".engine").split("-"):
            return name
    raise BundleError(f"the bundle holds no engine for SM {sm}")


def build_ahead(onnx: bytes, spec: SpecDocument, sms: Sequence[int]) -> bytes:
    """Returns an engine for GPUs of some compute capabilities (times ten). Needs no GPU.

    Raises:
        BundleError: the library cannot parse or build the model; with its message.
        MissingToolError: the library is not installed.
    """
    trt = import_library()
    with builder.Network(trt, onnx, spec) as network:
        network.config.num_compute_capabilities = len(sms)
        for index, sm in enumerate(sms):
            network.config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm}"), index)
        return network.build()
