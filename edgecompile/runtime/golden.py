"""Golden vectors: proof that this machine runs the model as the machine that built it did.

A bundle holds one picture that needs a border but no scaling to fit the model, the raw outputs that its artifact gave
for it, and the result they decode to. `check_golden` runs the model on the picture and compares its outputs within the
bundle's tolerance. It also decodes the stored outputs and compares them with the stored result, which involves no model
and so must agree closely.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count, repeat
from typing import Any

import numpy as np

from edgecompile.errors import BundleError
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.check import Check
from edgecompile.runtime.pictures import decode_member
from edgecompile.runtime.predictor import Predictor
from edgecompile.runtime.spec_document import SpecDocument

RESULT = "result.json"
"""File of the result that the golden outputs decode to."""
DIFFERENT = 2
"""Pictures of a golden batch that differ: the golden picture and its mirror image, in turns. Their outputs are kept."""
NUMBERS = "fiu"
"""Kinds of numpy's types that are numbers."""
LENGTHS = {b"\x93NUMPY\x01\x00": struct.Struct("<H"), b"\x93NUMPY\x02\x00": struct.Struct("<I")}
"""Beginning of an array's file to the form of its header's length."""
HEADER = re.compile(
    r"\{'descr': '([<>|]?[fiu][1248])', 'fortran_order': (True|False), 'shape': \(([0-9, ]{0,99})\), \}\s*"
)
"""The header as `numpy.save` writes it. It is a Python expression, which this module never evaluates."""
LARGEST_TOLERANCE = 2
"""A larger tolerance would accept any outputs."""


def check_golden(archive: Archive, predictor: Predictor) -> list[Check]:
    """Compares this machine's outputs with the golden outputs.

    Raises:
        BundleError: the golden vectors are missing or malformed.
    """
    golden = _golden_of(archive)
    tolerance, expected_limits = golden["tolerance"], limits(predictor.spec)
    if set(golden.get("limits") or {}) != set(expected_limits):
        raise BundleError("the golden vectors are not of the shapes that the model takes", where=str(archive.path))
    if not expected_limits:
        return _check_point(archive, predictor, golden, "opt", tolerance)
    vectors = {"min": golden["limits"]["min"], "opt": golden, "max": golden["limits"]["max"]}
    return [
        replace(check, name=f"{check.name} {point}")
        for point, vector in vectors.items()
        for check in _check_point(archive, predictor, vector, point, tolerance)
    ]


def limits(spec: SpecDocument) -> tuple[str, ...]:
    """Returns the points of the profile that have golden vectors of their own, besides the usual shape."""
    return ("min", "max") if "profile" in spec["input"] else ()


def batch_at(spec: SpecDocument, point: str) -> int:
    """Returns how many pictures the golden vectors of a point of the profile are of."""
    profile = spec["input"].get("profile")
    return int(profile[point][0] if profile else max(spec["input"]["shape"][0], 1))


def filled(picture: np.ndarray, batch: int) -> list[np.ndarray]:
    """Returns a batch that repeats one picture, every second copy mirrored."""
    return [picture if slot % DIFFERENT == 0 else np.ascontiguousarray(picture[:, ::-1]) for slot in range(batch)]


def _check_point(
    archive: Archive, predictor: Predictor, golden: Mapping[str, Any], point: str, tolerance: Mapping[str, float]
) -> list[Check]:
    """Compares this machine's outputs with the golden outputs of one shape."""
    entry = predictor.layout.input
    picture = decode_member(archive, golden["input"], entry.channels)
    batch = batch_at(predictor.spec, point)
    size = entry.size_at(point)
    tensor, geometries = predictor.stack(filled(picture, batch), imgsz=size)
    stored = [_read_array(archive, name) for name in golden["outputs"]]
    outputs = predictor.infer(tensor)
    if len(outputs) != len(stored):
        return [Check("outputs", False, f"the model has {len(outputs)} outputs, the bundle holds {len(stored)}")]
    if odd := [check for check in map(_compare_shapes, count(), outputs, stored, repeat(batch)) if not check.met]:
        return odd
    expected = [_repeated(output, batch) for output in stored]
    checks = compare_outputs(outputs, expected, predictor, tolerance)
    agreement = predictor.task.agreement(
        predictor.postprocess(expected, geometries[0]), archive.read_json(result_member(golden))
    )
    return [*checks, Check(predictor.task.noun, agreement.met, agreement.detail, decoded=True)]


def result_member(vectors: Mapping[str, Any]) -> str:
    """Returns the name of the member with the golden result; earlier bundles call them detections."""
    name: str = vectors["result"] if "result" in vectors else vectors["detections"]
    return name


def _compare_shapes(index: int, output: np.ndarray, stored: np.ndarray, batch: int) -> Check:
    """Compares kind and shape of an output with the golden output, of which a large batch repeats the pictures."""
    expected = (batch, *stored.shape[1:]) if _repeats(stored, batch) else stored.shape
    name = f"output {index}"
    if output.dtype.kind not in NUMBERS:
        return Check(name, False, "holds something other than numbers")
    return Check(name, output.shape == expected, f"shape {list(output.shape)} instead of {list(expected)}")


def _repeats(stored: np.ndarray, batch: int) -> bool:
    return batch > DIFFERENT and stored.ndim > 0 and len(stored) == DIFFERENT


def _repeated(stored: np.ndarray, batch: int) -> np.ndarray:
    """Returns the outputs of a whole batch, of which only those of different pictures are stored."""
    return stored[np.arange(batch) % DIFFERENT] if _repeats(stored, batch) else stored


def compare_outputs(
    outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray], predictor: Predictor, tolerance: Mapping[str, float]
) -> list[Check]:
    """Compares raw outputs of equal shapes with the golden outputs: those that the task reads in the parts it
    distinguishes, the others whole."""
    if odd := [index for index, output in enumerate(outputs) if not np.isfinite(output).all()]:
        return [Check(f"output {index}", False, "holds values that are not finite") for index in odd]
    read = predictor.outputs_read
    if scalars := [index for index in read if not outputs[index].ndim]:
        return [Check(f"output {index}", False, "is one number, and no output of pictures") for index in scalars]
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for slot in range(min(len(outputs[index]) for index in read)):
        picture = slice(slot, slot + 1)
        golden_outputs, own_outputs = ([whole[index][picture] for index in read] for whole in (expected, outputs))
        pairs = predictor.task.parts(golden_outputs, own_outputs)
        for name, pair in pairs.items():
            parts.setdefault(name or f"output {read[0]}", []).append(pair)
    unread = [index for index in range(len(outputs)) if index not in read]
    parts |= {f"output {index}": [(expected[index], outputs[index])] for index in unread}
    checks = []
    for name, compared in parts.items():
        golden, ours = (np.concatenate([pair[side].ravel() for pair in compared]) for side in (0, 1))
        checks.append(compare_part(name, ours, golden, tolerance["max_abs"], tolerance["min_cosine"]))
    return checks


def compare_part(name: str, actual: np.ndarray, expected: np.ndarray, max_abs: float, min_cosine: float) -> Check:
    """Compares the numbers of one kind: the largest difference, as a share of the largest golden number, and the cosine
    of the angle between both."""
    a, b = actual.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    difference = float(np.abs(a - b).max(initial=0.0))
    difference /= float(np.abs(b).max(initial=0.0)) or 1.0
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / lengths if lengths else float(difference == 0)
    met = difference <= max_abs and cosine >= min_cosine
    limits = f"difference {difference:.3g} (limit {max_abs:.3g}), cosine {cosine:.6f} (limit {min_cosine:.6f})"
    return Check(name, met, limits)


def _golden_of(archive: Archive) -> dict[str, Any]:
    """Returns the manifest's entry on the golden vectors."""
    golden: Any = archive.manifest.get("golden")
    try:
        tolerance = [golden["tolerance"][key] for key in ("max_abs", "min_cosine")]
        vectors = [golden, *(golden.get("limits") or {}).values()]
        members = [name for vector in vectors for name in (vector["input"], result_member(vector), *vector["outputs"])]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BundleError("the manifest names no golden vectors", where=str(archive.path)) from None
    if any(type(value) not in (int, float) or not 0 <= value <= LARGEST_TOLERANCE for value in tolerance):
        message = f"the tolerance of the golden vectors is {tolerance}, expected numbers from 0 to {LARGEST_TOLERANCE}"
        raise BundleError(message, where=str(archive.path))
    if not all(vector["outputs"] for vector in vectors) or any(name not in archive.names for name in members):
        raise BundleError("the golden vectors are not all there", where=str(archive.path))
    return golden


def _read_array(archive: Archive, name: str) -> np.ndarray:
    """Returns the array of numbers in a member, which holds exactly what its header says."""
    content = archive.read(name)
    try:
        lengths = LENGTHS[content[:8]]
        begin = 8 + lengths.size
        end = begin + lengths.unpack_from(content, 8)[0]
        header = HEADER.fullmatch(content[begin:end].decode("latin-1"))
        if header is None:
            raise ValueError("its header is another")
        kind, column_first, sides = header.groups()
        shape = tuple(int(side) for side in sides.split(",") if side.strip())
        dtype = np.dtype(kind)
        if math.prod(shape) * dtype.itemsize != len(content) - end:
            raise ValueError(f"{len(content) - end} bytes do not hold {dtype} {list(shape)}")
        values = np.frombuffer(content, dtype, offset=end)
        return values.reshape(shape, order="F" if column_first == "True" else "C")
    except (ValueError, KeyError, TypeError, struct.error) as error:
        message = f"'{name}' is not an array of numbers as numpy writes it ({type(error).__name__}: {error})"
        raise BundleError(message, where=str(archive.path)) from None
