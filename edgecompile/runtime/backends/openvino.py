"""OpenVINO on a CPU, an integrated GPU or an NPU."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, cast

from edgecompile.errors import BundleError
from edgecompile.json_types import JsonObject
from edgecompile.runtime import device_cache, openvino_ir
from edgecompile.runtime.backends import (
    Setting,
    _openvino_knobs,
    _openvino_layers,
    file_names,
    last_line,
    missing,
    picture_input,
    read_member,
    read_onnx,
)
from edgecompile.runtime.backends._openvino_knobs import (
    CORE_TYPE,
    HYPER_THREADING,
    ISA,
    KERNELS,
    PINNING,
    PRECISION,
)
from edgecompile.runtime.fork import require_first_use
from edgecompile.runtime.knobs import Knob, Site
from edgecompile.runtime.layer_timings import Feed, LayerTimings, Rounds
from edgecompile.runtime.options import Choice, Group, Matching, Option, Options, Switch, Whole
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np

CONVERTER = "openvino.tools.ovc"
ENVIRONMENT = "ONEDNN_"
"""Prefix of options that are environment variables of oneDNN, OpenVINO's CPU kernels: `ONEDNN_MAX_CPU_ISA` limits it to
the instruction set of the target. oneDNN reads them once, when the first model of a process is compiled."""
DEVICE = "DEVICE"
"""Option that names OpenVINO's device: CPU, GPU, GPU.1, NPU, or AUTO:GPU,CPU, the first of these that is here."""
HINT, THROUGHPUT = "PERFORMANCE_HINT", "THROUGHPUT"
EACH = "DEVICE_PROPERTIES"
"""Property of AUTO that holds the properties of each device."""
ONE_DEVICE = r"(?:CPU|(?:GPU|NPU)(?:\.[0-9]{1,2})?)"
DEVICE_NAME = rf"(?:{ONE_DEVICE}|AUTO:{ONE_DEVICE}(?:,{ONE_DEVICE}){{0,7}})"
"""Values of `DEVICE`, and MYRIAD, the plugin of the Neural Compute Stick."""
ISAS = (
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16",
    "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16", "AVX10_1_512", "DEFAULT",
)  # fmt: skip
"""Names that oneDNN has for instruction sets."""
STREAMS = Whole(1, 64)
ALLOCATED = {"GPU": "GPU_MEMORY_STATISTICS", "NPU": "NPU_DEVICE_ALLOC_MEM_SIZE"}
"""Properties that state what is allocated on a device, in bytes: of a GPU by kind of allocation."""
OF_A_DEVICE: Mapping[str, Option] = {
    PRECISION: Choice(("f32", "f16", "bf16")),
    "NUM_STREAMS": STREAMS,
    HINT: Choice(("LATENCY", THROUGHPUT)),
}
"""Properties that each device takes."""
OF_A_CPU: Mapping[str, Option] = {
    PINNING: Switch(),
    HYPER_THREADING: Switch(),
    CORE_TYPE: Choice(("ANY_CORE", "PCORE_ONLY", "ECORE_ONLY")),
}
"""Properties of a CPU: which of its cores run what."""


class Backend:
    """One compiled model. Options are some of OpenVINO's own properties, its device (`DEVICE`) and an environment
    variable of oneDNN; a variable that is set already stays. Properties that name folders, files or plugins
    (`CACHE_DIR`, `CONFIG_FILE`, `WEIGHTS_PATH`) are not among them.

    Of an artifact that lies in a bundle, the compiled model is kept on the device (`edgecompile.runtime.device_cache`).

    Attributes:
        device: OpenVINO's device that runs the model.
        from_cache: whether the model was compiled at an earlier start.
        setting: "latency" or "throughput".
    """

    options: ClassVar[Mapping[str, Option]] = {
        **OF_A_DEVICE,
        **OF_A_CPU,
        DEVICE: Matching(f"{DEVICE_NAME}|MYRIAD", "CPU, GPU, GPU.1, NPU, MYRIAD or AUTO:GPU,CPU"),
        EACH: Group(Matching(ONE_DEVICE, "the name of a device: CPU, GPU, GPU.1 or NPU"), {**OF_A_DEVICE, **OF_A_CPU}),
        "ENABLE_STARTUP_FALLBACK": Switch(),
        ISA: Choice(ISAS),
        KERNELS: Choice(tuple(openvino_ir.KERNELS)),
    }
    distributions: ClassVar[tuple[str, ...]] = ("openvino",)
    stand_in_options: ClassVar[Options] = {"INFERENCE_PRECISION_HINT": "f32"}
    """What it is opened with where it stands in for a device."""

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: SpecDocument, threads: int, options: Options
    ) -> None:
        try:
            openvino = self.import_library()
        except ImportError as error:
            raise missing("openvino", "openvino", error) from error

        require_first_use("openvino")  # the threads of its TBB: a fork waits for them now and then, whoever loads there
        self.version: str = openvino.get_version().split("-")[0]
        for key, value in options.items():
            if key.startswith(ENVIRONMENT):
                os.environ.setdefault(key, str(value))
        settings = {key: value for key, value in options.items() if not key.startswith(ENVIRONMENT)}
        asked = str(settings.pop(DEVICE, "CPU"))
        try:
            core = self._core = openvino.Core()
            self.device = _device_here(core, asked)
            whole = _with_threads(settings, self.device, threads)
            self.setting = "throughput" if settings.get(HINT) == THROUGHPUT else "latency"
            self._compiled, self.from_cache = _open(openvino, core, artifact, self.device, whole)
            request = self._compiled.create_infer_request()
        except (RuntimeError, ValueError, TypeError) as error:
            raise BundleError(f"openvino {self.version} cannot open the model: {last_line(error)}") from error
        parameters = spec.get("parameters", {})
        names = [next(iter(port.get_names() & parameters.keys()), "") for port in self._compiled.inputs]
        self._input = picture_input(names, spec)
        self.outputs = tuple(frozenset(port.get_names()) for port in self._compiled.outputs)
        self._wrap = openvino.Tensor
        self._executed = openvino.ProfilingInfo.Status.EXECUTED
        self._request = self._as_request(request)

    @staticmethod
    def import_library() -> ModuleType:
        """Imports OpenVINO without its converter."""
        return import_openvino()

    def accelerator_mb(self) -> float | None:
        """Returns the megabytes that OpenVINO has allocated on a GPU or an NPU. On an integrated GPU these lie in the
        memory of the machine, and count beside what the process itself holds."""
        kind = self.device.partition(".")[0]
        if kind not in ALLOCATED:
            return None
        try:
            taken = self._core.get_property(self.device, ALLOCATED[kind])
        except (RuntimeError, TypeError):  # an older plugin or driver, which does not tell
            return None
        return sum(taken.values() if isinstance(taken, Mapping) else [taken]) / 1e6

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        self._request.start(tensor)
        return self._request.wait()

    def requests(self, at_once: int | None = None) -> list[Request]:
        """Returns one request more than the device wants in flight: it is prepared while the others run."""
        count = 1 + (at_once or int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        made = (self._compiled.create_infer_request() for _ in range(count))
        return [self._as_request(request) for request in made]

    @staticmethod
    def for_many(options: Options, threads: int) -> Setting | None:
        """Returns OpenVINO's own setting for many pictures, THROUGHPUT. A target that asks for it has it already, and
        one that states a number of streams has what it wants; a CPU with one thread has one stream."""
        device = options.get(DEVICE, "CPU")
        asked = options.get(HINT) == THROUGHPUT or "NUM_STREAMS" in options
        if asked or device == "MYRIAD" or (device == "CPU" and threads == 1):
            return None
        return Setting(threads, {**options, HINT: THROUGHPUT})

    @staticmethod
    def remark(options: Options, isa: frozenset[str]) -> str:
        """As `edgecompile.runtime.backends.Remarks` has it."""
        return _openvino_knobs.without_bf16(isa) if options.get(PRECISION) == "bf16" else ""

    @staticmethod
    def knobs(setting: Setting, site: Site) -> list[Knob]:
        """Returns what OpenVINO leaves open on a CPU; on other devices it is told no more than a bundle says."""
        return _openvino_knobs.on_a_cpu(setting, site) if setting.options.get(DEVICE, "CPU") == "CPU" else []

    def give(self, values: Mapping[str, np.ndarray]) -> None:
        self._request.give(values)

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
        """Times each layer by OpenVINO's performance counters; see `edgecompile.runtime.backends.TimesLayers`."""
        plain = artifact if isinstance(artifact, Path) else dict(artifact)  # compiled anew: it has counters
        opened = cls(plain, spec, threads, {**options, "PERF_COUNT": True})
        counters = _openvino_layers.Counters(opened._compiled, opened._executed)
        whole = []
        for number in range(rounds.total):
            feed.before()
            began = time.perf_counter()
            feed.run(opened)
            took = 1e3 * (time.perf_counter() - began)
            if number >= rounds.warmup:
                counters.add(opened._request.counters())
                whole.append(took)
        return counters.timings(whole)

    def _as_request(self, request: Any) -> Request:
        return Request(request, self._wrap, self._input, len(self.outputs), self.version)


class Request:
    """An inference that runs beside others; see `edgecompile.runtime.backends.Request`."""

    def __init__(self, request: Any, wrap: Any, picture: int, outputs: int, version: str) -> None:
        self._request = request
        self._version = version
        self._wrap = wrap
        self._picture = picture
        self._outputs = outputs
        self._bound: np.ndarray | None = None
        self._running = False

    def give(self, values: Mapping[str, np.ndarray]) -> None:
        for name, value in values.items():
            self._request.set_tensor(name, self._wrap(value))

    def start(self, tensor: np.ndarray) -> None:
        if self._running:  # whoever started it was interrupted before the result was there
            with suppress(RuntimeError):
                self._request.wait()
        if tensor is not self._bound:  # a buffer that is used again stays bound: nothing is copied or converted
            self._request.set_input_tensor(self._picture, self._wrap(tensor, shared_memory=True))
            self._bound = tensor
        self._running = True
        self._request.start_async()

    def wait(self) -> list[np.ndarray]:
        with _running(self._version):
            self._request.wait()
        self._running = False
        return [self._request.get_output_tensor(index).data for index in range(self._outputs)]

    def counters(self) -> list[Any]:
        """Returns the performance counters of the last run: `ProfilingInfo` of each operation."""
        return list(self._request.get_profiling_info())


@contextmanager
def _running(version: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise BundleError(f"openvino {version} cannot run the model: {last_line(error)}") from error


def _device_here(core: Any, asked: str) -> str:
    """Returns the device to open: the requested device, or after "AUTO:" those of the list that are here.

    The CPU is always here. For all others OpenVINO loads the library of each device and asks it.

    Raises:
        BundleError: it is not here.
    """
    if asked == "CPU":
        return asked
    available = list(core.available_devices)
    kind, _, listed = asked.partition(":")
    requested = listed.split(",") if listed else [kind]
    usable = [
        name for name in requested if name in available or any(device.startswith(f"{name}.") for device in available)
    ]
    if not usable:
        raise BundleError(
            f"the model is for OpenVINO's device {' or '.join(requested)}, which is not here: available is "
            f"{', '.join(available) or 'none'}",
            fix="install the driver of the device, or build the recipe for the device that is here",
        )
    return f"{kind}:{','.join(usable)}" if listed else asked


def _with_threads(settings: Options, device: str, threads: int) -> Options:
    """Returns the settings with those of a CPU: the number of threads, and one picture at a time unless they set
    something else. The properties of devices that are not here are left out."""
    if device == "CPU":
        return {HINT: "LATENCY", "INFERENCE_NUM_THREADS": threads, **settings}
    if not device.startswith("AUTO:"):
        return settings
    of_each = cast("Mapping[str, Options]", settings.get(EACH, {}))
    of_devices = {name: {**of_each.get(name, {})} for name in device.partition(":")[2].split(",")}
    if "CPU" in of_devices:
        of_devices["CPU"] = {"INFERENCE_NUM_THREADS": threads, **of_devices["CPU"]}
    return {**settings, EACH: of_devices}


def _open(
    openvino: ModuleType, core: Any, artifact: Path | Mapping[str, bytes], device: str, settings: Options
) -> tuple[Any, bool]:
    """Returns the compiled model, and whether an earlier start has compiled it."""
    facts = _facts(openvino, core, artifact, device, settings)
    if facts and (kept := device_cache.find(facts)) is not None:
        try:
            return core.import_model(io.BytesIO(kept), device, _properties(settings)), True
        except (RuntimeError, ValueError, TypeError):  # of another driver, say: compiled again and replaced
            device_cache.forget(facts)
    model = _read_model(openvino, core, artifact, str(settings.get(KERNELS, "")))
    compiled = core.compile_model(model, device, _properties(settings))
    if facts:
        with suppress(RuntimeError, TypeError):  # a device that cannot after all
            exported = compiled.export_model()
            device_cache.keep(facts, exported.getvalue() if isinstance(exported, io.BytesIO) else bytes(exported))
    return compiled, False


def _properties(settings: Options) -> Options:
    """Returns those of the settings that are properties of OpenVINO: the family of kernels stands in the model."""
    return {key: value for key, value in settings.items() if key != KERNELS}


def _facts(
    openvino: ModuleType, core: Any, artifact: Path | Mapping[str, bytes], device: str, settings: Options
) -> JsonObject | None:
    """Returns all that a compiled model depends on; None where it is not to be kept: outside of a bundle, or on a
    device that cannot export it."""
    digest = getattr(artifact, "digest", None)
    if digest is None or device.startswith("AUTO") or device_cache.location() is None:
        return None
    if "EXPORT_IMPORT" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
        return None
    variables = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT)}
    return {
        "bundle": digest,
        "openvino": openvino.get_version(),
        "device": [device, str(core.get_property(device, "FULL_DEVICE_NAME"))],
        "settings": settings,
        "environment": variables,
        **device_cache.machine(),
    }


def import_openvino() -> ModuleType:
    """Imports openvino without its model converter.

    The package imports its converter (with argparse, an HTTP client and telemetry) merely to offer
    `openvino.convert_model`; that is most of the time of the import and 15 MB of memory. It copes with a converter that
    is not there, so it is made absent for the time of the import; `openvino.convert_model` then imports it when asked.
    """
    if "openvino" in sys.modules or CONVERTER in sys.modules:
        import openvino

        return openvino if hasattr(openvino, "Core") else import_module("openvino.runtime")
    sys.modules[CONVERTER] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        del sys.modules[CONVERTER]
    if not hasattr(openvino, "Core"):  # before 2023.1 all that is needed stood in a module of its own
        return import_module("openvino.runtime")

    def convert_when_asked(name: str) -> Any:
        if name != "convert_model":
            raise AttributeError(f"module 'openvino' has no attribute '{name}'")
        from openvino.tools.ovc import convert_model

        return convert_model

    openvino.__getattr__ = convert_when_asked
    return openvino


def _read_model(openvino: ModuleType, core: Any, artifact: Path | Mapping[str, bytes], kernels: str) -> Any:
    """Reads an IR or an ONNX model that names no other file.

    Args:
        kernels: family of kernels that the convolutions of an IR take first; "" for OpenVINO's own choice.

    Raises:
        BundleError: it does, or there is no such model.
    """
    if isinstance(artifact, Path) and artifact.suffix == ".xml":
        artifact = artifact.parent
    if not any(name.endswith(".xml") for name in file_names(artifact)):
        return core.read_model(read_onnx(artifact))
    import numpy as np

    (name, model), (_, content) = read_member(artifact, ".xml"), read_member(artifact, ".bin")
    openvino_ir.require_self_contained(model, len(content), name)
    if kernels:
        model = openvino_ir.with_kernels(model, kernels)
    weights = np.frombuffer(content, np.uint8)
    return core.read_model(model, openvino.Tensor(weights))  # a copy that lives as long as the model
