"""LiteRT (TensorFlow Lite) on the CPU, with the kernels of XNNPACK."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from edgecompile.errors import BundleError
from edgecompile.runtime.backends import last_line, missing, read_member
from edgecompile.runtime.knobs import Knob, Site, thread_counts
from edgecompile.runtime.options import Option, Options
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.backends import Setting

IDENTIFIER = b"TFL3"
LIBRARY = "ai_edge_litert.interpreter"
SUFFIX = ".tflite"


class Backend:
    """One interpreter, which runs one inference at a time."""

    options: ClassVar[Mapping[str, Option]] = {}
    distributions: ClassVar[tuple[str, ...]] = ("ai-edge-litert",)
    no_layer_times: ClassVar[str] = "LiteRT's Python package has no profiler"

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: SpecDocument, threads: int, options: Options
    ) -> None:
        try:
            library: Any = self.import_library()
        except ImportError as error:
            raise missing("ai-edge-litert", "litert", error) from error
        self.version: str = version("ai-edge-litert")
        name, content = read_member(artifact, SUFFIX)
        if content[4:8] != IDENTIFIER:
            raise BundleError(f"cannot open the model: '{name}' is no file of LiteRT")
        try:
            self._interpreter = library.Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise BundleError(f"LiteRT {self.version} cannot open the model: {last_line(error)}") from error
        entries, ends = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(entries) != 1:
            raise BundleError(f"the model has {len(entries)} inputs, expected one")
        self._input: int = entries[0]["index"]
        self._outputs: list[int] = [end["index"] for end in ends]
        self.outputs = tuple(frozenset([end["name"]]) for end in ends)

    @staticmethod
    def import_library() -> ModuleType:
        """Imports LiteRT's interpreter."""
        return import_module(LIBRARY)

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        try:
            self._interpreter.set_tensor(self._input, tensor)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise BundleError(f"LiteRT {self.version} cannot run the model: {last_line(error)}") from error
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    @staticmethod
    def knobs(setting: Setting, site: Site) -> list[Knob]:
        """Returns what LiteRT leaves open: how many threads."""
        return [thread_counts(site)]
