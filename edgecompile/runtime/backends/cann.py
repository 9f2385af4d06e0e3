"""Huawei Ascend: the model is built on the device by ATC, and run through AscendCL's Python API (`acl`).

Untested on hardware. Sources: hiascend.com, CANN 8.0.0: "ATC" (options), "AMCT (ONNX)" (`convert_qat_model`), "AscendCL
Python API" (pictures that run beside each other: `execute_async`); npu-smi of Atlas 200I DK A2 25.2.0 (`npu-smi info`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from edgecompile.errors import BundleError, MissingToolError
from edgecompile.runtime.aipp import read_config
from edgecompile.runtime.backends import last_line, read_member, read_onnx
from edgecompile.runtime.options import Option, Options
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np

MODEL = "model.om"
SETUP = "install CANN's toolkit, then: source /usr/local/Ascend/ascend-toolkit/set_env.sh"
CHIP = re.compile(r"^\|\s*\d+\s+(?:Ascend)?(310[A-Z]\w*)\s*\|", re.MULTILINE)
DRIVER = re.compile(r"Version:\s*(\S+)")
VERSION = re.compile(r"^version=(\S+)", re.MULTILINE)
INSTALLED = "ascend_toolkit_install.info"
"""File of the toolkit that states its version."""
QUANTIZED = b"DequantizeLinear"
CONVERT = "import amct_onnx; amct_onnx.convert_qat_model('model.onnx', 'converted')"
CONVERTED = "converted_deploy_model.onnx"
"""Name that `convert_qat_model` gives the model that ATC takes."""

DEVICE = 0
HUGE_PAGES_FIRST, TO_DEVICE, TO_HOST = 0, 1, 2
CHIP_MEMORY = 0
"""ACL_DDR_MEM: the memory of an Ascend 310, of which `acl.rt.get_mem_info` states what is free."""
REPEATED = 100002
"""ACL_ERROR_REPEAT_INITIALIZE: `acl.init` was called before in this process, by another model or by the program."""
IN_FLIGHT = 3
"""Pictures that keep a chip busy: one runs, one waits behind it, one is prepared."""
TYPES = {0: "float32", 1: "float16", 2: "int8", 3: "int32", 4: "uint8", 9: "int64"}
"""aclDataType to numpy's."""


class Backend:
    """One model on the first chip. Takes no options."""

    options: ClassVar[Mapping[str, Option]] = {}
    distributions: ClassVar[tuple[str, ...]] = ("cann-toolkit",)
    no_layer_times: ClassVar[str] = "CANN tells them by a program of its own (msprof), which is not called from here"

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: SpecDocument, threads: int, options: Options
    ) -> None:
        try:
            import acl
        except ImportError as error:
            raise MissingToolError(f"AscendCL cannot be imported: {error}", fix=SETUP) from error

        if not isinstance(artifact, Path):
            raise BundleError("a model for Ascend is opened where `edgecompile finalize` put it")
        self.version = _toolkit_version()
        self._session = _Session(acl, artifact / MODEL)
        self.outputs = tuple(frozenset([name, name.rpartition(":")[2]]) for name in self._session.names)

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        return self._session.infer(tensor)

    def requests(self, at_once: int | None = None) -> list[_Request]:
        """Returns requests on the one model, each with buffers and a stream of its own."""
        return [_Request(self._session) for _ in range((at_once or IN_FLIGHT - 1) + 1)]

    def accelerator_mb(self) -> float | None:
        """Returns the megabytes that the chip's memory has less free since before the model was loaded."""
        return self._session.taken_mb()

    @staticmethod
    def device(options: Options) -> dict[str, str]:
        _tool("atc")
        text = _run([_tool("npu-smi"), "info"])
        chip, driver = CHIP.search(text), DRIVER.search(text)
        if chip is None or driver is None:
            raise BundleError("npu-smi names no Ascend 310 chip here")
        return {"runtime": _toolkit_version(), "soc": f"Ascend{chip[1]}", "driver": driver[1]}

    @staticmethod
    def build(artifact: Mapping[str, bytes], spec: SpecDocument, options: Options, out: Path, kept: Path) -> None:
        soc = Backend.device(options)["soc"]
        onnx, config = read_onnx(artifact), read_member(artifact, ".cfg")[1]
        read_config(config.decode("utf-8", "replace"))
        with tempfile.TemporaryDirectory(prefix="edgecompile-") as folder:
            Path(folder, "model.onnx").write_bytes(onnx)
            Path(folder, "aipp.cfg").write_bytes(config)
            model = "model.onnx"
            if QUANTIZED in onnx:
                _run([sys.executable, "-c", CONVERT], folder)
                model = CONVERTED
            _run([_tool("atc"), *atc_words(spec, soc, model)[1:]], folder)
            built = Path(folder, MODEL)
            if not built.is_file():
                raise BundleError(f"atc wrote no {MODEL}")
            shutil.copyfile(built, out / MODEL)


def atc_words(spec: SpecDocument, soc: str, model: str) -> list[str]:
    """Returns the command that builds `model.om` in the current folder.

    Args:
        spec: the final spec: bytes, NHWC. The graph before AIPP takes NCHW.
        soc: version of the chip, "Ascend310B4".
        model: the ONNX file that ATC reads.
    """
    count, height, width, channels = spec["input"]["shape"]
    return [
        "atc",
        "--framework=5",  # ONNX
        f"--model={model}",
        f"--output={Path(MODEL).stem}",
        f"--soc_version={soc}",
        "--input_format=NCHW",
        f"--input_shape={spec['input']['name']}:{count},{channels},{height},{width}",
        "--insert_op_conf=aipp.cfg",
    ]


def _tool(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise MissingToolError(f"{name} is not found on this device", fix=SETUP)
    return program


def _run(command: Sequence[str], folder: str | None = None) -> str:
    """Runs one of the device's tools and returns its output.

    Raises:
        MissingToolError: it lacks a Python package of CANN.
        BundleError: it failed; with the last line of its output.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode == 0:
        return done.stdout
    reason = last_line(Exception(f"{done.stdout}\n{done.stderr}"))
    if "No module named 'amct_onnx'" in reason:
        raise MissingToolError("amct_onnx is not installed, which converts INT8 graphs for ATC", fix=SETUP)
    tool = Path(command[0]).name if command[0] != sys.executable else "amct_onnx"
    raise BundleError(f"{tool} failed (exit code {done.returncode}): {reason}")


def _toolkit_version() -> str:
    """Returns the version of the CANN toolkit whose environment is set."""
    for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH"):
        for path in sorted(Path(os.environ.get(name) or "/nonexistent").glob(f"*-linux/{INSTALLED}")):
            if match := VERSION.search(path.read_text(errors="replace")):
                return match[1]
    raise MissingToolError("the environment names no CANN toolkit (ASCEND_TOOLKIT_HOME)", fix=SETUP)


class _Session:
    """A loaded model with its buffers. `names` are those of its outputs."""

    def __init__(self, acl: Any, model: Path) -> None:
        self.acl = acl
        begun = acl.init()
        _check("acl.init", 0 if begun == REPEATED else begun)
        _check("acl.rt.set_device", acl.rt.set_device(DEVICE))
        self._context = _value("acl.rt.create_context", acl.rt.create_context(DEVICE))
        self._free_before = self._free_bytes()
        self.model = _value("acl.mdl.load_from_file", acl.mdl.load_from_file(str(model)))
        self._about = about = acl.mdl.create_desc()
        _check("acl.mdl.get_desc", acl.mdl.get_desc(about, self.model))
        self._size = acl.mdl.get_input_size_by_index(about, 0)
        self._sizes = [acl.mdl.get_output_size_by_index(about, at) for at in range(acl.mdl.get_num_outputs(about))]
        self.names = [acl.mdl.get_output_name_by_index(about, at) for at in range(len(self._sizes))]
        self._buffers = self.new_buffers()

    def _free_bytes(self) -> int | None:
        """Returns the free memory of the chip; None where this CANN does not tell."""
        read = getattr(self.acl.rt, "get_mem_info", None)
        free, _, status = read(CHIP_MEMORY) if read else (0, 0, 1)
        return free if status == 0 else None

    def taken_mb(self) -> float | None:
        """Returns the megabytes that are less free than before the model was loaded; None where that is not known."""
        now = self._free_bytes()
        if now is None or self._free_before is None:
            return None
        return max(self._free_before - now, 0) / 1e6

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        self.upload(tensor, self._buffers)
        code = self.acl.mdl.execute(self.model, self._buffers.entry, self._buffers.results)
        _check("acl.mdl.execute", code)
        return self.download(self._buffers)

    def enter(self) -> None:
        """Makes the context current in the calling thread."""
        _check("acl.rt.set_context", self.acl.rt.set_context(self._context))

    def upload(self, tensor: np.ndarray, buffers: _Buffers) -> None:
        """Copies the input to the device."""
        if tensor.nbytes != self._size:
            raise BundleError(f"the model takes {self._size} bytes, not {tensor.nbytes}")
        self.enter()
        _copy(self.acl, buffers.given, tensor.ctypes.data, self._size, TO_DEVICE)

    def download(self, buffers: _Buffers) -> list[np.ndarray]:
        """Copies the outputs from the device."""
        for address, array in zip(buffers.made, buffers.arrays, strict=True):
            _copy(self.acl, array.ctypes.data, address, array.nbytes, TO_HOST)
        return [array.astype("float32") if array.dtype == "float16" else array for array in buffers.arrays]

    def new_buffers(self) -> _Buffers:
        """Returns buffers for one inference, here and on the device."""
        self.enter()
        entry, given = self._dataset([self._size])
        results, made = self._dataset(self._sizes)
        return _Buffers(entry, given[0], results, made, [self._array(at) for at in range(len(self._sizes))])

    def _dataset(self, sizes: Sequence[int]) -> tuple[Any, list[int]]:
        """Returns a data set of new buffers on the device, and their addresses."""
        acl, addresses = self.acl, []
        dataset = acl.mdl.create_dataset()
        for size in sizes:
            addresses.append(_value("acl.rt.malloc", acl.rt.malloc(size, HUGE_PAGES_FIRST)))
            acl.mdl.add_dataset_buffer(dataset, acl.create_data_buffer(addresses[-1], size))
        return dataset, addresses

    def _array(self, at: int) -> np.ndarray:
        import numpy as np

        shape = _value("acl.mdl.get_output_dims", self.acl.mdl.get_output_dims(self._about, at))["dims"]
        return np.empty(shape, TYPES[self.acl.mdl.get_output_data_type(self._about, at)])


class _Buffers(NamedTuple):
    """Buffers of one inference: data sets and addresses on the device, and the outputs here."""

    entry: Any
    given: int
    results: Any
    made: list[int]
    arrays: list[np.ndarray]


class _Request:
    """An inference in a stream of AscendCL; see `edgecompile.runtime.backends.Request`."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._buffers = session.new_buffers()
        self._stream = _value("acl.rt.create_stream", session.acl.rt.create_stream())
        self._running = False

    def start(self, tensor: np.ndarray) -> None:
        acl = self._session.acl
        self._session.enter()
        if self._running:  # whoever started it was interrupted before the result was there
            acl.rt.synchronize_stream(self._stream)
        self._session.upload(tensor, self._buffers)
        self._running = True
        code = acl.mdl.execute_async(self._session.model, self._buffers.entry, self._buffers.results, self._stream)
        _check("acl.mdl.execute_async", code)

    def wait(self) -> list[np.ndarray]:
        self._session.enter()
        _check("acl.rt.synchronize_stream", self._session.acl.rt.synchronize_stream(self._stream))
        self._running = False
        return self._session.download(self._buffers)

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of the process the library may be gone, and the memory with it
            acl = self._session.acl
            self._session.enter()
            acl.rt.synchronize_stream(self._stream)
            for address in (self._buffers.given, *self._buffers.made):
                acl.rt.free(address)
            acl.rt.destroy_stream(self._stream)


def _copy(acl: Any, to: int, source: int, size: int, direction: int) -> None:
    _check("acl.rt.memcpy", acl.rt.memcpy(to, size, source, size, direction))


def _value(function: str, answer: tuple[Any, int]) -> Any:
    _check(function, answer[1])
    return answer[0]


def _check(function: str, code: int) -> None:
    if code:
        raise BundleError(f"{function} failed with {code}")
