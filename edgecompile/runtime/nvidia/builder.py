"""From an ONNX to an engine, with TensorRT or TensorRT-RTX: their Python interfaces agree where this goes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType, TracebackType
from typing import Any

from edgecompile.errors import BundleError
from edgecompile.runtime.spec import POINTS
from edgecompile.runtime.spec_document import SpecDocument

MOST_ERRORS = 3
"""Most refused operators that a message names."""


class Network:
    """A parsed ONNX and the configuration of its builder. Used in a `with` block.

    Attributes:
        config: the library's `IBuilderConfig`.
    """

    def __init__(self, trt: ModuleType, onnx: bytes, spec: SpecDocument, *, typed: bool = True) -> None:
        """Parses the ONNX.

        Args:
            trt: the library's module.
            spec: the document of `spec.json`; `input.profile` bounds shapes that change.
            typed: whether each operator is computed in the type that the graph gives it, which TensorRT 11 always does.

        Raises:
            BundleError: the library does not take the ONNX; with its message.
        """
        self._trt = trt
        self._said = _logger(trt)
        self._builder = trt.Builder(self._said)
        self._typed = typed or int(trt.__version__.split(".")[0]) >= 11
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if self._typed else 0
        self._network = self._builder.create_network(flags)
        self._parser = trt.OnnxParser(self._network, self._said)
        if not self._parser.parse(onnx):
            errors = [describe(self._parser.get_error(index)) for index in range(self._parser.num_errors)]
            first = ["; ".join(list(dict.fromkeys(errors))[:MOST_ERRORS])] if errors else self._said.errors[-1:]
            raise BundleError(f"{self._name} does not take the model: {_one_line(first)}")
        self.config = self._builder.create_builder_config()
        self._add_profile(spec["input"])

    def __enter__(self) -> Network:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        del self._parser, self._network, self._builder  # in this order: each refers to the next

    def build(self) -> bytes:
        """Returns the engine.

        Raises:
            BundleError: the library cannot build it; with its message.
        """
        engine = self._builder.build_serialized_network(self._network, self.config)
        if engine is None:
            raise BundleError(f"{self._name} cannot build the model: {_one_line(self._said.errors[-1:])}")
        return bytes(engine)

    def take_timings(self, known: bytes) -> None:
        """Gives the builder a timing cache: a cache that it wrote before, or an empty cache. A cache that does not fit
        this device is left out."""
        cache = self.config.create_timing_cache(known)
        if cache is None or not self.config.set_timing_cache(cache, False):
            cache = self.config.create_timing_cache(b"")
            self.config.set_timing_cache(cache, False)
        self._timings = cache  # must live as long as the build

    def timings(self) -> bytes:
        """Returns the timing cache as it is now."""
        return bytes(self.config.get_timing_cache().serialize())

    def prefer_dla(self, core: int) -> None:
        """Gives a deep learning accelerator the layers that it can run, and the GPU the rest. Before TensorRT 11 a
        network for it may not be strongly typed: flags then allow precisions."""
        trt = self._trt
        self.config.default_device_type = trt.DeviceType.DLA
        self.config.DLA_core = core
        self.config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
        if not self._typed:
            self.config.set_flag(trt.BuilderFlag.FP16)
            layers = (self._network.get_layer(index).type for index in range(self._network.num_layers))
            if any(layer == trt.LayerType.QUANTIZE for layer in layers):
                self.config.set_flag(trt.BuilderFlag.INT8)

    @property
    def _name(self) -> str:
        return f"{self._trt.__name__.removesuffix('_bindings')} {self._trt.__version__}"

    def _add_profile(self, entry: Mapping[str, Any]) -> None:
        """Adds the smallest, usual and largest shape, where the input's shape changes."""
        if all(side > 0 for side in entry["shape"]):
            return
        try:
            shapes = [tuple(int(side) for side in entry["profile"][point]) for point in POINTS]
        except (KeyError, TypeError, ValueError):
            raise BundleError("spec.json: the input's shape changes, but no profile says within what") from None
        profile = self._builder.create_optimization_profile()
        profile.set_shape(entry["name"], *shapes)
        self.config.add_optimization_profile(profile)


def describe(error: Any) -> str:
    """Returns a parser's message on one operator: of an assertion of its source, the words in it."""
    words = re.search(r'"([^"]+)"', error.desc())
    reason = words[1] if words else "" if error.desc() in ("false", "") else error.desc()
    operator = error.node_operator() if hasattr(error, "node_operator") else ""
    if not operator:
        return reason or error.func()
    name = f" '{error.node_name()[:60]}'" if error.node_name() else ""
    return f"operator {operator}{name}: {reason}" if reason else f"operator {operator}{name} is not supported"


def _logger(trt: ModuleType) -> Any:
    """Returns a logger that keeps the errors and prints nothing."""

    base: Any = trt.ILogger

    class Logger(base):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Logger()


def _one_line(messages: list[str]) -> str:
    return re.sub(r"\s+", " ", " ".join(messages)).strip() or "it says nothing"
