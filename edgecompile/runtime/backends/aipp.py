"""ONNX Runtime on the CPU behind AIPP: stands in for an Ascend chip, with the files that its tools read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.runtime.aipp import preprocess, read_config
from edgecompile.runtime.backends import onnxruntime, read_member
from edgecompile.runtime.options import Options
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np


class Backend(onnxruntime.Backend):
    """A session that takes bytes after the configuration beside the model. Options: those of ONNX Runtime."""

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: SpecDocument, threads: int, options: Options
    ) -> None:
        super().__init__(artifact, spec, threads, options)
        self._binding = None  # its input is another array each time
        self._config = read_config(read_member(artifact, ".cfg")[1].decode("utf-8", "replace"))

    def _run(self, tensor: np.ndarray, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return super()._run(preprocess(tensor, self._config), given)
