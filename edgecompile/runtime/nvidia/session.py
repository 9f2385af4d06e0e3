"""Runs an engine of TensorRT or TensorRT-RTX: one context, one stream, buffers that grow with the shapes.

Several sessions of one engine run beside each other, each in a context and a stream of its own (TensorRT 10, "Runtime
Phase": contexts share an engine; profiles are shared too). Untested on hardware.
"""

from __future__ import annotations

import copy
from math import prod
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgecompile.errors import BundleError
from edgecompile.runtime.nvidia.cuda import Cuda, DeviceMemory, HostArray
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]
IN_FLIGHT = 3
"""Pictures that keep a GPU busy: one runs, one waits behind it, one is prepared."""


class Session:
    """An engine, ready to run. Not for several threads at once.

    Attributes:
        outputs: names of the outputs, in the order of the engine's.
    """

    _source: np.ndarray | None = None
    """What is being copied to the GPU."""

    def __init__(
        self, trt: ModuleType, cuda: Cuda, engine: bytes, *, kernels: bytes | None = None, dla: int | None = None
    ) -> None:
        """Opens an engine.

        Args:
            kernels: kernels that TensorRT-RTX finished before on this device; empty to begin with none; None where the
                library has no such kernels.
            dla: number of the deep learning accelerator that the engine was built for.

        Raises:
            BundleError: the engine is for another library or another GPU.
        """
        import numpy as np

        cuda.enter()
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        if dla is not None:
            self._runtime.DLA_core = dla
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise BundleError(f"the engine does not fit {trt.__name__} {trt.__version__} on this GPU")
        self._kernels: Any = None
        self._begin(cuda, kernels)
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.outputs = tuple(name for name in names if name not in inputs)
        if len(inputs) != 1:
            raise BundleError(f"the engine has {len(inputs)} inputs, expected one")
        self._input = inputs[0]
        self._types = {name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in names}

    def another(self) -> Session:
        """Returns a session of the same engine that runs beside this one."""
        other = copy.copy(self)
        other._begin(self._cuda.beside(), None)
        return other

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        """Runs the model on a tensor and returns its outputs, which the next call overwrites."""
        self.start(tensor)
        return self.wait()

    def start(self, tensor: np.ndarray) -> None:
        """Starts the model on a tensor; see `edgecompile.runtime.backends.Request`."""
        import numpy as np

        self._cuda.enter()
        tensor = np.ascontiguousarray(tensor, self._types[self._input])
        if tensor.shape != self._shape:
            self._prepare(tensor.shape)
        self._source = tensor
        self._cuda.upload(self._memory[self._input], tensor)
        if not self._context.execute_async_v3(self._cuda.stream):
            raise BundleError("the GPU could not run the model")
        for name, result in zip(self.outputs, self._results, strict=True):
            self._cuda.download(result.array, self._memory[name])

    def wait(self) -> list[np.ndarray]:
        """Returns the outputs once they are there, which the next start overwrites."""
        self._cuda.enter()
        self._cuda.wait()
        return [result.array for result in self._results]

    def report_layers(self, profiler: Any) -> None:
        """Has each run from now on report the times of its layers to an `IProfiler`."""
        self._context.profiler = profiler

    def kernels(self) -> bytes:
        """Returns the kernels that were finished so far, for the next session on this device."""
        return bytes(self._kernels.serialize()) if self._kernels is not None else b""

    def _begin(self, cuda: Cuda, kernels: bytes | None) -> None:
        """Opens a context and forgets the buffers of another.

        Raises:
            BundleError: the GPU has no memory for it.
        """
        self._cuda = cuda
        self._memory: dict[str, DeviceMemory] = {}
        self._results: list[HostArray] = []
        self._shape: Shape | None = None
        self._source = None
        self._context = self._open_context(kernels)
        if self._context is None:
            raise BundleError("the engine cannot be run here: not enough memory on the GPU?")

    def _open_context(self, kernels: bytes | None) -> Any:
        if kernels is None and self._kernels is None:
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        if self._kernels is None:
            self._kernels = config.create_runtime_cache()
        if kernels:
            self._kernels.deserialize(kernels)  # those of another driver are left out, and made again
        config.set_runtime_cache(self._kernels)
        return self._engine.create_execution_context(config)

    def _prepare(self, shape: Shape) -> None:
        """Sets the input's shape, and makes buffers of the sizes that follow from it."""
        self._shape = None
        if not self._context.set_input_shape(self._input, shape):
            raise BundleError(f"the engine does not take an input of {list(shape)}")
        shapes: dict[str, Shape] = {self._input: shape}
        shapes |= {name: tuple(self._context.get_tensor_shape(name)) for name in self.outputs}
        for name, sides in shapes.items():
            if any(side < 0 for side in sides):
                raise BundleError(f"the engine does not say the shape of '{name}'")
            self._memory[name] = self._cuda.allocate(prod(sides) * self._types[name].itemsize)
            if not self._context.set_tensor_address(name, self._memory[name].address):
                raise BundleError(f"the engine takes no memory for '{name}'")
        self._results = [self._cuda.allocate_array(shapes[name], self._types[name]) for name in self.outputs]
        self._shape = shape


def shapes_of(spec: SpecDocument) -> list[Shape]:
    """Returns the input shapes that a spec names: those of its profile, or its only shape."""
    entry = spec["input"]
    shapes = list((entry.get("profile") or {"opt": entry["shape"]}).values())
    return list(dict.fromkeys(tuple(int(side) for side in shape) for shape in shapes))
