"""The CUDA driver, called through ctypes: it comes with every driver and every JetPack, and nothing else is needed.

Everything happens in the primary context of the first GPU, the context that TensorRT uses.
"""

from __future__ import annotations

import copy
import ctypes
import ctypes.util
import re
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.errors import BundleError

if TYPE_CHECKING:
    import numpy as np

LIBRARY = "libcuda.so.1"
MAJOR, MINOR = 75, 76
"""Numbers of the device attributes that hold the compute capability (CUdevice_attribute of cuda.h)."""
NAME_LENGTH = 256

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (c_void_p,),
    "cuDeviceGet": (c_void_p, c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (c_void_p, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (c_void_p, c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuStreamCreate": (c_void_p, c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuMemAlloc_v2": (c_void_p, c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemAllocHost_v2": (c_void_p, c_size_t),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuGetErrorString": (c_int, c_void_p),
}
"""Argument types of the functions called, as cuda.h has them: a CUdeviceptr is 64 bits wide, handles are pointers."""


class Cuda:
    """The first GPU.

    Attributes:
        stream: handle of the stream in which everything runs that is asked of this object, as a number.
    """

    def __init__(self, library: Any = None, root: Path = Path("/")) -> None:
        """Opens the driver.

        Args:
            library: the loaded driver (a substitute in tests).
            root: where /etc and /proc stand (another folder in tests).

        Raises:
            BundleError: there is no driver, or no GPU.
        """
        self._root = root
        try:
            self._library = library or ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise BundleError(f"there is no NVIDIA driver here: {error}") from error
        for name, types in SIGNATURES.items():
            getattr(self._library, name).argtypes = types
        self._call("cuInit", 0)
        device, context = c_int(), c_void_p()
        self._call("cuDeviceGet", byref(device), 0)
        self._device = device.value
        self._call("cuDevicePrimaryCtxRetain", byref(context), self._device)
        self._context = context
        self.enter()
        self._given_back: _StreamOwner | None = None
        self.stream = self._new_stream()

    def beside(self) -> Cuda:
        """Returns the same GPU with a stream of its own, whose work runs beside that of this one."""
        other = copy.copy(self)
        other.enter()
        other.stream = other._new_stream()
        other._given_back = _StreamOwner(other, other.stream)
        return other

    def enter(self) -> None:
        """Makes the context current in the calling thread."""
        self._call("cuCtxSetCurrent", self._context)

    def facts(self) -> dict[str, str]:
        """Returns gpu (its name), sm (compute capability), cuda (newest version that the driver serves), driver (on a
        Jetson the version of Jetson Linux) and, on a Jetson, board."""
        name = ctypes.create_string_buffer(NAME_LENGTH)
        self._call("cuDeviceGetName", name, NAME_LENGTH, self._device)
        version = c_int()
        self._call("cuDriverGetVersion", byref(version))
        facts = {
            "gpu": name.value.decode("utf-8", "replace"),
            "sm": f"{self._attribute(MAJOR)}.{self._attribute(MINOR)}",
            "cuda": f"{version.value // 1000}.{version.value % 1000 // 10}",
            "driver": driver_version(self._root),
        }
        board = _text(self._root / "proc/device-tree/model").rstrip("\0")
        return {**facts, "board": board} if board else facts

    def allocate(self, size: int) -> DeviceMemory:
        """Returns `size` bytes on the GPU."""
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), max(size, 1))
        return DeviceMemory(self, address.value)

    def allocate_array(self, shape: tuple[int, ...], dtype: Any) -> HostArray:
        """Returns an array in memory that the GPU writes to directly."""
        import numpy as np

        size = max(prod(shape) * np.dtype(dtype).itemsize, 1)
        address = c_void_p()
        self._call("cuMemAllocHost_v2", byref(address), size)
        return HostArray(self, address.value or 0, size, shape, dtype)

    def upload(self, memory: DeviceMemory, array: np.ndarray) -> None:
        """Copies a contiguous array to the GPU, in the stream."""
        self._call("cuMemcpyHtoDAsync_v2", memory.address, array.ctypes.data, array.nbytes, self.stream)

    def download(self, array: np.ndarray, memory: DeviceMemory) -> None:
        """Copies from the GPU into a contiguous array, in the stream: there after `wait`."""
        self._call("cuMemcpyDtoHAsync_v2", array.ctypes.data, memory.address, array.nbytes, self.stream)

    def wait(self) -> None:
        """Waits until all work in the stream is done."""
        self._call("cuStreamSynchronize", self.stream)

    def free(self, function: str, address: int) -> None:
        """Gives memory back; at the end of the process the driver may be gone already, and the memory with it."""
        getattr(self._library, function)(address)

    def _new_stream(self) -> int:
        stream = c_void_p()
        self._call("cuStreamCreate", byref(stream), 0)
        return stream.value or 0

    def _attribute(self, number: int) -> int:
        value = c_int()
        self._call("cuDeviceGetAttribute", byref(value), number, self._device)
        return value.value

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            text = c_char_p()
            self._library.cuGetErrorString(code, byref(text))
            message = text.value.decode("utf-8", "replace") if text.value else "unknown error"
            raise BundleError(f"the NVIDIA driver refuses ({function}: {message}, {code})")


class _StreamOwner:
    """Gives a stream back when nobody refers to it any more."""

    def __init__(self, cuda: Cuda, stream: int) -> None:
        self._library, self._stream = cuda._library, stream

    def __del__(self) -> None:
        self._library.cuStreamDestroy_v2(self._stream)


class DeviceMemory:
    """Memory on the GPU, given back when nobody refers to it any more."""

    def __init__(self, cuda: Cuda, address: int) -> None:
        self._cuda, self.address = cuda, address

    def __del__(self) -> None:
        self._cuda.free("cuMemFree_v2", self.address)


class HostArray:
    """An array in page-locked memory, given back when nobody refers to it any more.

    Attributes:
        array: the numbers; lives no longer than this.
    """

    def __init__(self, cuda: Cuda, address: int, size: int, shape: tuple[int, ...], dtype: Any) -> None:
        self._cuda, self._address = cuda, address
        import numpy as np

        buffer = (ctypes.c_char * size).from_address(address)
        self.array = np.frombuffer(memoryview(buffer), dtype, prod(shape)).reshape(shape)

    def __del__(self) -> None:
        self._cuda.free("cuMemFreeHost", self._address)


def driver_version(root: Path = Path("/")) -> str:
    """Returns the version of Jetson Linux ("36.4.3"), else that of the kernel's NVIDIA module, else "unknown"."""
    release = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", _text(root / "etc/nv_tegra_release"))
    if release:
        return f"{release[1]}.{release[2]}"
    module = re.search(r"NVRM version:.*?\s(\d+\.\d[\d.]*)\s", _text(root / "proc/driver/nvidia/version"))
    return module[1] if module else "unknown"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
