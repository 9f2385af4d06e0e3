"""A new runtime in one file: OpenCV's `cv2.dnn`. `Backend` runs on the device, `OpenCvDnn` compiles for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np

from edgecompile.errors import BundleError, PlanError
from edgecompile.runtime.backends import last_line, read_onnx
from edgecompile.runtime.options import Option, Switch


class Backend:
    """One network. The option `fusion` says whether layers are fused."""

    options: ClassVar[Mapping[str, Option]] = {"fusion": Switch()}
    distributions: ClassVar[tuple[str, ...]] = ("opencv-python-headless",)

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: Mapping[str, Any], threads: int, options: Mapping[str, Any]
    ) -> None:
        self.version: str = cv2.__version__
        content = read_onnx(artifact)
        cv2.setNumThreads(threads)
        try:
            self._net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
        except cv2.error as error:
            raise BundleError(f"OpenCV {self.version} cannot open the model: {last_line(error)}") from error
        self._net.enableFusion(options.get("fusion", True))
        self._names = self._net.getUnconnectedOutLayersNames()
        self.outputs = tuple(frozenset([name]) for name in self._names)

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        self._net.setInput(tensor)
        return list(self._net.forward(self._names))


try:
    from edgecompile.targets import Target
except ImportError:  # a device has the runtime only
    pass
else:

    class OpenCvDnn(Target):
        """A CPU that runs ONNX with OpenCV.

        Fields:
            fusion: whether OpenCV fuses layers when it opens the model.
        """

        kind: Literal["opencv_dnn"] = "opencv_dnn"
        fusion: bool = True

        backend: ClassVar[str] = "opencv_dnn"
        runtime: ClassVar[tuple[str, str]] = ("opencv-python-headless", ">=4.8")

        def options(self) -> dict[str, Any]:
            return {"fusion": self.fusion}

        def quantize(self, graph: Any, model: Any, settings: Any) -> Any:
            raise PlanError(f"{self.device} runs float models only", fix="leave int8_static out")
