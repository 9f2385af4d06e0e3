"""ncnn on the CPU."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgecompile.errors import BundleError
from edgecompile.runtime.backends import choose_file, missing
from edgecompile.runtime.fork import require_first_use

DEFAULTS = {
    # By itself ncnn stores and computes in FP16 or bfloat16 where the CPU can: another result on another machine.
    "use_fp16_packed": False,
    "use_fp16_storage": False,
    "use_fp16_arithmetic": False,
    "use_bf16_packed": False,
    "use_bf16_storage": False,
    "use_vulkan_compute": False,
}


class Backend:
    """One network. Options are attributes of `ncnn.Option`. The model takes one picture at a time."""

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: Mapping[str, Any], threads: int, options: Mapping[str, Any]
    ) -> None:
        try:
            import ncnn
        except ImportError as error:
            raise missing("ncnn", "ncnn", error) from error

        require_first_use("ncnn")  # the threads of its OpenMP
        self.version: str = ncnn.__version__
        self._wrap = ncnn.Mat
        self._net = net = ncnn.Net()
        net.opt.num_threads = threads
        for key, value in {**DEFAULTS, **options}.items():
            if not hasattr(net.opt, key):
                raise BundleError(f"ncnn {self.version} has no option '{key}'")
            setattr(net.opt, key, value)
        names = choose_file(artifact, ".param"), choose_file(artifact, ".bin")
        with _files(artifact, names) as (layers, weights), _quiet():
            opened = net.load_param(layers) == 0 and net.load_model(weights) == 0
        if not opened or len(net.input_names()) != 1:
            raise BundleError(f"ncnn {self.version} cannot open the model: its layers or weights are not ncnn's")
        self._input = net.input_names()[0]
        self._names = net.output_names()
        self.outputs = tuple(frozenset([name]) for name in self._names)

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        if len(tensor) != 1:
            raise BundleError(f"ncnn runs one picture at a time, not {len(tensor)}")
        extractor = self._net.create_extractor()
        extractor.input(self._input, self._wrap(tensor[0]))
        results = []
        for name in self._names:
            code, value = extractor.extract(name)
            if code:
                raise BundleError(f"ncnn {self.version} cannot run the model (code {code})")
            results.append(np.array(value)[None])
        return results


@contextlib.contextmanager
def _files(artifact: Path | Mapping[str, bytes], names: tuple[str, str]) -> Iterator[list[str]]:
    """Gives paths of the two files of a model. From memory they are written out: ncnn would read past their end."""
    if isinstance(artifact, Path):
        folder = artifact if artifact.is_dir() else artifact.parent
        yield [str(folder / name) for name in names]
        return
    with tempfile.TemporaryDirectory(prefix="edgecompile-") as folder:
        paths = [Path(folder) / Path(name).name for name in names]
        for path, name in zip(paths, names, strict=True):
            path.write_bytes(artifact[name])
        yield [str(path) for path in paths]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what ncnn prints on its own about a model that it cannot open away from people: they get one line."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
