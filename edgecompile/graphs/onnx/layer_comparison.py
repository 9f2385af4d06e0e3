"""Compares an ONNX artifact with the float model, layer by layer, on one picture: which layer leaves it first."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.agreement import single_thread_session
from edgecompile.graphs.onnx.onnx_layers import precisions
from edgecompile.graphs.onnx.structure import Structure
from edgecompile.library_errors import explain


@dataclass(frozen=True)
class LayerDistance:
    """How far what a layer puts out is from the float model's.

    Attributes:
        layer: name of what it puts out.
        precision: that it multiplies in, in the artifact.
        error: length of the difference, as a share of the length of the float numbers; infinity where they are not
            finite.
        before: the largest error of the layers that it reads from; 0 where it reads the picture.
    """

    layer: str
    precision: str
    error: float
    before: float = 0.0

    @property
    def entered(self) -> float:
        """By how much the error grew in this layer."""
        return self.error - self.before if math.isfinite(self.error) else self.error


def layer_distances(
    artifact: onnx.ModelProto, reference: onnx.ModelProto, tensor: np.ndarray, reference_tensor: np.ndarray
) -> list[LayerDistance]:
    """Returns the distance of each layer with weights that both graphs name alike, in the order of the artifact.

    Args:
        tensor, reference_tensor: the same picture as the input of either.

    Raises:
        StepError: ONNX Runtime cannot run a graph, or the two have no layer in common.
    """
    structure = Structure(artifact)
    own = precisions(structure)
    there = {name for node in reference.graph.node for name in node.output}
    names = [name for name in own if name in there]
    if not names:
        raise StepError("the artifact and the float model have no layer of the same name")
    ours, theirs = outputs_of(artifact, tensor, names), outputs_of(reference, reference_tensor, names)
    return distances(structure, own, ours, theirs)


def distances(
    structure: Structure, precision: Mapping[str, str], ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]
) -> list[LayerDistance]:
    """Returns the distance of each layer whose numbers are of the same shape in both.

    Args:
        structure: of a graph that says which layer reads which.
        precision: of each layer, by the name of what it puts out.
        ours, theirs: what the artifact and the float model put out, by the same names.
    """
    names = list(ours)
    errors = {name: _error(ours[name], theirs[name]) for name in names if ours[name].shape == theirs[name].shape}
    read = _read_by(structure, errors)
    return [
        LayerDistance(name, precision[name], error, max((errors[layer] for layer in read[name]), default=0.0))
        for name, error in errors.items()
    ]


def _read_by(structure: Structure, layers: Collection[str]) -> dict[str, set[str]]:
    """Returns of each layer, by the name of what it puts out, those nearest before it."""
    nearest: dict[str, set[str]] = {}
    read = {}
    for node in structure.nodes:
        before = {layer for name in node.input for layer in nearest.get(name, ())}
        for name in node.output:
            if name in layers:
                read[name] = before
            nearest[name] = {name} if name in layers else before
    return read


def outputs_of(model: onnx.ModelProto, tensor: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Returns tensors inside of a graph, computed node by node as it is written."""
    probe = onnx.ModelProto.FromString(model.SerializeToString())
    existing = {output.name for output in probe.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in existing)
    try:
        session = single_thread_session(probe.SerializeToString(), optimize="ORT_DISABLE_ALL")
        arrays = session.run(names, {session.get_inputs()[0].name: tensor})
    except Exception as error:  # its exceptions have no common base
        raise explain(error, "the graph with its layers put out") from error
    return {name: np.asarray(array, np.float64) for name, array in zip(names, arrays, strict=True)}


def _error(ours: np.ndarray, theirs: np.ndarray) -> float:
    if not np.isfinite(ours).all():
        return float("inf")
    length = float(np.linalg.norm(theirs))
    return float(np.linalg.norm(ours - theirs)) / (length or 1.0)
