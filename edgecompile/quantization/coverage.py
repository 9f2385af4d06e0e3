"""Step: counts in the artifact itself how many of its layers with weights are in which precision."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edgecompile.evaluate.layer_coverage import coverage_of, require_precision
from edgecompile.runtime.figures import Coverage
from edgecompile.runtime.spec import Spec, read_spec

if TYPE_CHECKING:
    from edgecompile.evaluate.layer_coverage import Layer


def count(out: Path, *, artifact: Path, spec: Path, form: str, precision: str) -> Coverage:
    """Counts the layers with weights of an artifact, and what they multiply for one picture.

    Args:
        artifact: the file or folder that ships.
        form: "onnx", "openvino", "ncnn" or "litert".
        precision: by which the artifact is called.

    Returns:
        layers, macs and by_precision: see `edgecompile.evaluate.layer_coverage.coverage_of`.

    Raises:
        StepError: no layer is in the precision by which the artifact is called.
    """
    read = {"onnx": _of_onnx, "openvino": _of_openvino, "ncnn": _of_ncnn, "litert": _of_litert}[form]
    coverage = coverage_of(read(artifact, read_spec(spec)))
    require_precision(coverage, precision)
    return coverage


def _of_onnx(artifact: Path, spec: Spec) -> list[Layer]:
    import onnx

    from edgecompile.graphs.onnx.onnx_layers import layers
    from edgecompile.runtime.backends import choose_file

    file = artifact if artifact.is_file() else artifact / choose_file(artifact, ".onnx")
    return layers(onnx.load_model_from_string(file.read_bytes()), spec.frame.size)


def _of_openvino(artifact: Path, spec: Spec) -> list[Layer]:
    from edgecompile.graphs.openvino.ir_layers import layers

    if -1 not in spec.input.shape:
        return layers((artifact / "model.xml").read_bytes())
    from edgecompile.graphs.openvino import import_openvino

    openvino = import_openvino()
    model = openvino.Core().read_model(artifact / "model.xml")
    model.reshape([1, *spec.frame.size, spec.input.shape[3]])
    with TemporaryDirectory() as folder:
        openvino.serialize(model, Path(folder) / "model.xml")
        return layers((Path(folder) / "model.xml").read_bytes())


def _of_ncnn(artifact: Path, spec: Spec) -> list[Layer]:
    from edgecompile.graphs.ncnn.ncnn_coverage import layers

    return layers(artifact, spec.input.shape)


def _of_litert(artifact: Path, spec: Spec) -> list[Layer]:
    from edgecompile.graphs.litert import FILE
    from edgecompile.graphs.litert.litert_coverage import layers

    return layers((artifact / FILE).read_bytes())
