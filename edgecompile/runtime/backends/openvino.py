"""OpenVINO on the CPU, or on the device that the option `DEVICE` names."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgecompile.errors import BundleError
from edgecompile.runtime.backends import choose_file, last_line, missing

CONVERTER = "openvino.tools.ovc"
ENVIRONMENT = "ONEDNN_"
"""Options that begin so are environment variables of oneDNN, OpenVINO's CPU kernels: `ONEDNN_MAX_CPU_ISA` holds it to
the instruction set that the target has. oneDNN reads them once, when the first model of a process is compiled."""
DEVICE = "DEVICE"
"""Option that names the device: "CPU" where there is none."""


class Backend:
    """One compiled model and one inference request. Options are OpenVINO's own properties, such as
    `INFERENCE_PRECISION_HINT`, and oneDNN's environment variables; a variable that is set already stays."""

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: Mapping[str, Any], threads: int, options: Mapping[str, Any]
    ) -> None:
        try:
            openvino = import_openvino()
        except ImportError as error:
            raise missing("openvino", "openvino", error) from error

        self.version: str = openvino.get_version().split("-")[0]
        for key, value in options.items():
            if key.startswith(ENVIRONMENT):
                os.environ.setdefault(key, str(value))
        settings = {key: value for key, value in options.items() if not key.startswith(ENVIRONMENT)}
        device = settings.pop(DEVICE, "CPU")
        if device == "CPU":
            settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, **settings}
        try:
            core = openvino.Core()
            model = _read_model(openvino, core, artifact)
            self._compiled = core.compile_model(model, device, settings)
            self._request = self._compiled.create_infer_request()
        except (RuntimeError, ValueError, TypeError) as error:
            raise BundleError(f"openvino {self.version} cannot open the model: {last_line(error)}") from error
        self.outputs = tuple(frozenset(port.get_names()) for port in self._compiled.outputs)
        self._wrap = openvino.Tensor
        self._bound: np.ndarray | None = None

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        if tensor is not self._bound:  # a buffer that is used again stays bound: nothing is copied or converted
            self._request.set_input_tensor(self._wrap(tensor, shared_memory=True))
            self._bound = tensor
        self._request.start_async()
        self._request.wait()
        return [self._request.get_output_tensor(index).data for index in range(len(self.outputs))]


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

    openvino.__getattr__ = convert_when_asked  # type: ignore[method-assign]
    return openvino


def _read_model(openvino: ModuleType, core: Any, artifact: Path | Mapping[str, bytes]) -> Any:
    """Reads an IR or an ONNX model, from files or from memory."""
    if isinstance(artifact, Path):
        ir = artifact.suffix == ".xml" or (artifact.is_dir() and any(artifact.glob("*.xml")))
        name = choose_file(artifact, ".xml" if ir else ".onnx")
        return core.read_model(str(artifact if artifact.is_file() else artifact / name))
    ir = any(name.endswith(".xml") for name in artifact)
    model = artifact[choose_file(artifact, ".xml" if ir else ".onnx")]
    if not ir:
        return core.read_model(model)
    weights = np.frombuffer(artifact[choose_file(artifact, ".bin")], np.uint8)
    return core.read_model(model, openvino.Tensor(weights))  # a copy that lives as long as the model
