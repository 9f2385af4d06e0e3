"""Inputs and outputs of an ONNX Runtime session bound once and used again: no array is made or copied for a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
"""Types of outputs that can be bound, and NumPy's for them."""
DEVICE = ("cpu", 0)


def bindable(session: Any) -> bool:
    """Returns whether the shapes of all outputs of a session are known before it runs; else ONNX Runtime makes them."""
    return all(
        output.type in TYPES and all(isinstance(side, int) and side > 0 for side in output.shape)
        for output in session.get_outputs()
    )


class Binding:
    """Buffers of a session whose outputs are of known shape.

    Attributes:
        outputs: the arrays that each run overwrites.
    """

    def __init__(self, session: Any, picture: str) -> None:
        """Makes the outputs; `picture` is the name of the input that takes pictures."""
        self._session, self._picture = session, picture
        self._bound: dict[str, np.ndarray] = {}
        self._binding = session.io_binding()
        described = session.get_outputs()
        self.outputs = [np.empty(output.shape, TYPES[output.type]) for output in described]
        for output, array in zip(described, self.outputs, strict=True):
            self._binding.bind_output(output.name, *DEVICE, array.dtype.type, array.shape, array.ctypes.data)

    def run(self, tensor: np.ndarray, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Runs the session on a picture and the parameters beside it, and returns the outputs."""
        for name, array in {**given, self._picture: tensor}.items():
            if self._bound.get(name) is not array:
                self._bind(name, array)
        self._session.run_with_iobinding(self._binding)
        return self.outputs

    def _bind(self, name: str, array: np.ndarray) -> None:
        whole = np.ascontiguousarray(array)
        self._binding.bind_input(name, *DEVICE, whole.dtype.type, whole.shape, whole.ctypes.data)
        self._bound[name] = whole  # ONNX Runtime holds its address only
