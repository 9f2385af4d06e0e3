"""ONNX to ncnn, by ncnn's own converter pnnx, and the proof that both compute the same."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edgecompile.errors import MissingToolError, StepError
from edgecompile.plan.facts import GraphFacts
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np

    from edgecompile.runtime.backends.ncnn import Backend

INPUT, OUTPUT = "in0", "out{}"
"""Names that pnnx gives to the first input and to each output by its number, whatever they were called."""
INSTALL = "pip install --no-deps pnnx"
"""Its program needs no torch, its package says it does."""


def compile_ncnn(out: Path, *, model: Path, spec: Path, half: bool) -> GraphFacts:
    """Writes `model.param`, `model.bin` and the final `spec.json`.

    Args:
        half: whether weights are stored in FP16.

    Raises:
        StepError: pnnx cannot convert the model, ncnn lacks one of its layers, or the two disagree.
        MissingToolError: pnnx is not installed.
    """
    from edgecompile.graphs.ncnn import BIN, PARAM
    from edgecompile.graphs.ncnn.param_file import read_layers
    from edgecompile.graphs.onnx.agreement import fixed_input, require_agreement, run
    from edgecompile.graphs.onnx.model_spec import read_spec, with_outputs, write_spec
    from edgecompile.graphs.onnx.serialization import load
    from edgecompile.runtime.backends.ncnn import Backend

    read = read_spec(spec)
    size = read["letterbox"]["size"]
    if read["input"]["shape"][0] > 1:
        raise StepError("ncnn runs one picture at a time", fix="model.dynamic.batch=null")
    with TemporaryDirectory() as folder:
        channels = read["input"]["shape"][1]
        exact = convert(model, Path(folder), [channels, *size], half=False)
        text = (exact / PARAM).read_text(encoding="utf-8")
        require_layers(text, read)
        picture = fixed_input([1, channels, *size], size)
        before = run(load(model).SerializeToString(), picture)
        names = [OUTPUT.format(number) for number in range(len(before))]
        after = outputs_of(Backend(exact, read, 1, {}), picture, names)
        proof = require_agreement(before, after, read, size, "converting the graph to ncnn")
        chosen = convert(model, Path(folder), [channels, *size], half=True) if half else exact
        for name in (PARAM, BIN):
            shutil.copyfile(chosen / name, out / name)
    read["input"] |= {"name": INPUT, "shape": [1, channels, *size]}  # ncnn plans for one size: dynamic sizes are fixed
    write_spec(with_outputs(read, [list(output.shape) for output in after], names), out / "spec.json")
    kinds = [layer.kind for layer in read_layers(text)]
    counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    stored = "FP16" if half else "float"
    return {"changes": [f"ONNX converted to ncnn, weights in {stored}"], "max_abs_diff": proof, "layers": counts}


def outputs_of(backend: Backend, picture: np.ndarray, names: list[str]) -> list[np.ndarray]:
    """Returns what a network puts out on a picture, in the order of `names`: its own order is that of its layers.

    Raises:
        StepError: its outputs have other names.
    """
    import numpy as np

    found = {
        name: np.array(output)
        for called, output in zip(backend.outputs, backend.infer(picture), strict=True)
        for name in called
    }
    if found.keys() != set(names):
        raise StepError(f"pnnx names the outputs {', '.join(sorted(found))}, expected {', '.join(names)}")
    return [found[name] for name in names]


def convert(model: Path, folder: Path, sides: list[int], *, half: bool) -> Path:
    """Returns a new folder inside `folder` with `model.param` and `model.bin` of an ONNX file.

    Args:
        sides: channels, height and width of the input.
        half: whether weights are stored in FP16.
    """
    from edgecompile.graphs.ncnn import BIN, PARAM

    place = folder / ("half" if half else "float")
    scratch = place / "pnnx"  # it writes much more than is wanted, beside the file that it reads
    scratch.mkdir(parents=True)
    shutil.copyfile(model, scratch / "model.onnx")
    shape = ",".join(map(str, (1, *sides)))
    command = [str(program()), "model.onnx", f"inputshape=[{shape}]", f"fp16={int(half)}", "device=cpu"]
    done = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    files = {"model.ncnn.param": PARAM, "model.ncnn.bin": BIN}
    if done.returncode or not all((scratch / name).is_file() for name in files):
        last_line = done.stdout.decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
        raise StepError(f"pnnx cannot convert the model (exit code {done.returncode}); it said: {last_line[0].strip()}")
    for name, target in files.items():
        (scratch / name).rename(place / target)
    return place


def program() -> Path:
    """Returns pnnx's program, found without importing its package, which would import torch.

    Raises:
        MissingToolError: it is not installed.
    """
    package = find_spec("pnnx")
    folders = (package.submodule_search_locations if package else None) or []
    inside = next((Path(folder) / "pnnx" for folder in folders), None)
    if inside is None or not inside.is_file():
        raise MissingToolError("pnnx, the converter to ncnn, is not installed", fix=INSTALL)
    if not os.access(inside, os.X_OK):
        raise MissingToolError(f"pnnx's program may not be executed: {inside}", fix=f"chmod +x {inside}")
    return inside


def require_layers(text: str, spec: SpecDocument) -> None:
    """Raises:
    StepError: naming the layers of a text that ncnn does not have.
    """
    import ncnn

    from edgecompile.graphs.ncnn.param_file import read_layers
    from edgecompile.graphs.onnx.model_spec import simpler_head

    absent = sorted({layer.kind for layer in read_layers(text) if ncnn.create_layer(layer.kind) is None})
    if absent:
        raise StepError(f"ncnn has no layer for {', '.join(absent)}", fix=simpler_head(spec))
