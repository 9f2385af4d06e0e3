"""Which layer of a bundle leaves the float model first: the work of `diagnose --layers`."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.errors import RecipeError
from edgecompile.execute.store import Store
from edgecompile.graphs.onnx.layer_comparison import LayerDistance, layer_distances
from edgecompile.graphs.openvino.canonical_names import BIN, XML
from edgecompile.plan.validation import REFERENCE
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.finding import Finding
from edgecompile.runtime.letterbox import tensor_of
from edgecompile.runtime.pictures import decode_member
from edgecompile.runtime.spec import Spec, read_spec

if TYPE_CHECKING:
    import onnx

LEAVES = 0.5
"""Relative distance from which a layer has left the float model. Sound INT8 of a small net reaches 0.22 in the middle
and 0.07 at its outputs (YOLO11 of 0.5 M parameters, MinMax)."""
MODEL = "artifact/model.onnx"
IR = tuple(f"artifact/{name}" for name in (XML, BIN))


def judge_layers(distances: Sequence[LayerDistance]) -> list[Finding]:
    """Returns the first layer of a bundle that leaves the float model; nothing where none does."""
    left = [one for one in distances if one.error > LEAVES]
    if not left:
        return []
    place = distances.index(left[0])
    before = f"; {distances[place - 1].layer} before it by {distances[place - 1].error:.2f}" if place else ""
    evidence = (
        f"{left[0].layer}, in {left[0].precision}, is {left[0].error:.2f} of its length away from the float model"
        f"{before}; {len(left)} of {len(distances)} layers are beyond {LEAVES:g}"
    )
    fix = "leave it in float: passes.int8_static.exclude, or let `edgecompile sensitivity` rank the layers"
    return [Finding("results", "layer", "a layer leaves the float model", evidence, fix)]


def layers_line(distances: Sequence[LayerDistance]) -> str:
    """Returns how many layers were compared and which is the furthest, in a line for people."""
    furthest = max(distances, key=lambda one: one.error)
    return (
        f"{len(distances)} layers compared with the float model; {furthest.layer} is the furthest from it, by "
        f"{furthest.error:.2f} of its length (a sound layer stays below {LEAVES:g})"
    )


def distances_of(bundle: Path, reference: str) -> list[LayerDistance]:
    """Returns how far each layer of a bundle is from the float model's on the golden picture.

    Args:
        reference: a bundle of the float model, or the run directory that holds one; "" for the float model that the
            bundle was built from, as the store holds it.

    Raises:
        RecipeError: there is no such model, or the artifact is of a runtime whose layers nobody reads.
        StepError: its runtime cannot run it with its layers put out.
    """
    with Archive(bundle) as archive:
        spec = read_spec(archive.read_json("spec.json"))
        picture = decode_member(archive, archive.manifest["golden"]["input"], spec.input.channels)
        other, other_spec = _reference(archive, reference)
        tensors = tensor_of(spec, picture), tensor_of(other_spec, picture)
        if set(archive.names) >= set(IR):
            from edgecompile.graphs.openvino import ir_layer_comparison

            xml, weights = map(archive.read, IR)
            return ir_layer_comparison.layer_distances(xml, weights, other, *tensors)
        return layer_distances(_graph(archive), other, *tensors)


def _reference(archive: Archive, reference: str) -> tuple[onnx.ModelProto, Spec]:
    if reference:
        path = _bundle_at(Path(reference))
        with Archive(path) as known:
            return _graph(known), read_spec(known.read_json("spec.json"))
    keys = {step["name"]: step["key"] for step in archive.manifest["steps"]}
    needs: Sequence[str] = next(
        (step["needs"] for step in json.loads(archive.read("report.json"))["steps"] if step["name"] == REFERENCE), ()
    )
    store = Store.default()
    for name in needs:
        entry = store.find(keys[name]) if name in keys else None
        if entry and "model.onnx" in entry.files:
            specs = (store.find(keys[one]) for one in needs if one in keys)
            holder = next(one for one in specs if one and "spec.json" in one.files)
            return _parsed(entry.path("model.onnx").read_bytes()), read_spec(holder.path("spec.json"))
    raise RecipeError(
        "the float model that it was built from is not in the store",
        where=str(archive.path),
        fix="build its recipe again, or name a bundle of the float model: --layers FLOAT",
    )


def _bundle_at(path: Path) -> Path:
    """Returns a bundle, or the one in a run directory."""
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.bundle.zip"))
    if len(found) != 1:
        raise RecipeError(f"holds {len(found) or 'no'} bundles, expected one", where=str(path))
    return found[0]


def _graph(archive: Archive) -> onnx.ModelProto:
    if MODEL not in archive.names:
        backend = archive.manifest["target"]["backend"]
        fix = "build it for a target of ONNX Runtime or OpenVINO to compare layers"
        raise RecipeError(
            f"its model is in the form of {backend}, whose layers cannot be compared", where=str(archive.path), fix=fix
        )
    return _parsed(archive.read(MODEL))


def _parsed(content: bytes) -> onnx.ModelProto:
    import onnx

    return onnx.load(io.BytesIO(content))
