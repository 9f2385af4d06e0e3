"""ncnn on the CPU."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from edgecompile.errors import BundleError
from edgecompile.runtime.backends import Setting, _ncnn_layers, missing, read_member
from edgecompile.runtime.backends._threaded import ThreadedRequest, threaded_requests
from edgecompile.runtime.fork import require_first_use
from edgecompile.runtime.knobs import Alternative, Knob, Site, thread_counts
from edgecompile.runtime.layer_timings import Feed, LayerTimings, Rounds
from edgecompile.runtime.options import Option, Options, Switch
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np

MAGIC = "7767517"
COUNT = re.compile("[0-9]{1,7}")
KIND = re.compile(r"[A-Za-z0-9_.]{1,60}")
PARAM = re.compile(r"(-?[0-9]{1,5})=([-+.0-9eE]{1,40}(?:,[-+.0-9eE]{1,40})*)")
FIRST_ARRAY = -23300
"""Parameters of this number and below are arrays: a count, then as many values."""
DEFAULTS = {
    # By itself ncnn stores and computes in FP16 or bfloat16 where the CPU can: another result on another machine.
    "use_fp16_packed": False,
    "use_fp16_storage": False,
    "use_fp16_arithmetic": False,
    "use_bf16_packed": False,
    "use_bf16_storage": False,
    "use_vulkan_compute": False,
}
BF16 = ("use_bf16_storage",)
HOW = (
    "use_winograd_convolution", "use_winograd23_convolution", "use_winograd43_convolution",
    "use_winograd63_convolution", "use_sgemm_convolution", "use_packing_layout",
)  # fmt: skip
"""Options of how convolutions are computed; all are on where nobody says otherwise."""


class Backend:
    """One network. Options are attributes of `ncnn.Option`. The model takes one picture at a time."""

    options: ClassVar[Mapping[str, Option]] = {
        name: Switch() for name in (*DEFAULTS, *HOW) if name != "use_vulkan_compute"
    }
    distributions: ClassVar[tuple[str, ...]] = ("ncnn",)

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: SpecDocument, threads: int, options: Options
    ) -> None:
        try:
            ncnn = self.import_library()
        except ImportError as error:
            raise missing("ncnn", "ncnn", error) from error

        require_first_use("ncnn")  # the threads of its OpenMP
        self.version: str = ncnn.__version__
        self._wrap = ncnn.Mat
        self._net = net = ncnn.Net()
        net.opt.num_threads = threads
        for key, value in {**DEFAULTS, **options}.items():
            if hasattr(net.opt, key):  # an older ncnn lacks some
                setattr(net.opt, key, value)
            elif value:
                raise BundleError(f"ncnn {self.version} has no option '{key}'")
        with _files(artifact) as (layers, weights), _quiet():
            opened = net.load_param(layers) == 0 and net.load_model(weights) == 0
        if not opened or len(net.input_names()) != 1:
            raise BundleError(f"ncnn {self.version} cannot open the model: its layers or weights are not ncnn's")
        self._input = net.input_names()[0]
        self._names = net.output_names()
        self.outputs = tuple(frozenset([name]) for name in self._names)

    @staticmethod
    def import_library() -> ModuleType:
        """Imports ncnn."""
        return import_module("ncnn")

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        return self._run(tensor, {})

    def requests(self, at_once: int | None = None) -> list[ThreadedRequest]:
        """Returns requests on the one network, each with an extractor of its own."""
        return threaded_requests(self._run, at_once or 1)

    @staticmethod
    def for_many(options: Options, threads: int) -> Setting | None:
        """Returns a network whose inferences take one thread each, as many at a time as there are threads."""
        return Setting(1, options, threads) if threads > 1 else None

    @staticmethod
    def knobs(setting: Setting, site: Site) -> list[Knob]:
        """Returns what ncnn leaves open: the ways to compute convolutions, each of which it takes where it can; whether
        channels lie in groups; whether numbers between layers are kept in bfloat16, which any processor can."""
        ways = {
            "without winograd": dict.fromkeys(HOW[:4], False),
            "without the widest winograd": {HOW[3]: False},
            "without gemm": {HOW[4]: False},
        }
        return [
            thread_counts(site),
            Knob("convolutions", {name: Alternative(options) for name, options in ways.items()}),
            Knob("packing", {"off": Alternative({HOW[5]: False})}),
            Knob("storage", {"bf16": Alternative(dict.fromkeys(BF16, True))}),
        ]

    def _run(self, tensor: np.ndarray, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        if len(tensor) != 1:
            raise BundleError(f"ncnn runs one picture at a time, not {len(tensor)}")
        import numpy as np

        extractor = self._net.create_extractor()
        extractor.input(self._input, self._wrap(tensor[0]))
        results = []
        for name in self._names:
            code, value = extractor.extract(name)
            if code:
                raise BundleError(f"ncnn {self.version} cannot run the model (code {code})")
            results.append(np.array(value)[None])
        return results

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
        """Times each layer, asked for by itself; see `edgecompile.runtime.backends.TimesLayers`."""
        opened = cls(artifact, spec, threads, options)
        text = _layers_of(artifact)[1].decode("utf-8")
        picture = opened._wrap(feed.tensor[0])
        precision = "fp16" if opened._net.opt.use_fp16_arithmetic else "fp32"
        return _ncnn_layers.time_layers(opened._net, picture, opened._input, text, precision, feed, rounds)


def _layers_of(artifact: Path | Mapping[str, bytes]) -> tuple[str, bytes]:
    """Returns name and content of the text of layers."""
    folder = artifact.parent if isinstance(artifact, Path) and artifact.is_file() else artifact
    return read_member(folder, ".param")


@contextlib.contextmanager
def _files(artifact: Path | Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Gives paths of the two files of a model, written out: from memory ncnn would read past their end."""
    if isinstance(artifact, Path) and artifact.is_file():
        artifact = artifact.parent
    (name, layers), (_, weights) = _layers_of(artifact), read_member(artifact, ".bin")
    check_layers(layers, name)
    with tempfile.TemporaryDirectory(prefix="edgecompile-") as folder:
        paths = Path(folder) / "model.param", Path(folder) / "model.bin"
        paths[0].write_bytes(layers)
        paths[1].write_bytes(weights)
        yield str(paths[0]), str(paths[1])


def check_layers(content: bytes, name: str) -> None:
    """Makes sure that the text of layers agrees with its counts: ncnn reserves memory by them, and reads on.

    Raises:
        BundleError: it does not; with the line.
    """
    lines = content.decode("utf-8", "replace").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    counts = [int(word) for word in lines[1].split() if COUNT.fullmatch(word)] if len(lines) > 1 else []
    if lines[:1] != [MAGIC] or len(counts) != 2 or counts[0] != len(lines) - 2:
        raise BundleError(f"cannot open the model: '{name}' is no text of ncnn's layers, or not all of it")
    blobs: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(lines[2:], 3):
        kind, _, *words = line.split() or ("", "")
        ends = [int(word) for word in words[:2] if COUNT.fullmatch(word)]
        params = words[2 + sum(ends) :]
        if len(ends) != 2 or len(words) < 2 + sum(ends) or not KIND.fullmatch(kind) or not all(map(_is_param, params)):
            raise BundleError(f"cannot open the model: '{name}' line {number} is no layer of ncnn")
        names = words[2 : 2 + sum(ends)]
        blobs += [*(blob for blob in names[: ends[0]] if blob not in seen), *names[ends[0] :]]  # as ncnn numbers them
        seen.update(names)
    if counts[1] != len(blobs):
        raise BundleError(f"cannot open the model: '{name}' counts {counts[1]} blobs, its layers have {len(blobs)}")


def _is_param(word: str) -> bool:
    """Says whether a word is a numbered parameter: one number, or as many as it says."""
    match = PARAM.fullmatch(word)
    if not match:
        return False
    values = match[2].split(",")
    if int(match[1]) > FIRST_ARRAY:
        return len(values) == 1
    return COUNT.fullmatch(values[0]) is not None and int(values[0]) == len(values) - 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides ncnn's own output about a model that it cannot open: people get one line."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
