"""Step: how far the raw outputs of an artifact lie from those of the float model, on the same pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np

from edgecompile.runtime.spec import read_spec

SQNR_LIMIT_DB = 200.0
"""Reported for outputs that are equal, where the ratio has no bound (JSON knows no infinity)."""


class PartDistance(TypedDict):
    """Distances of one part of the outputs; see `measure`."""

    max: float
    cosine: float
    sqnr_db: float


class DistanceFacts(PartDistance):
    """What the step returns; see `compare`."""

    parts: dict[str, PartDistance]
    per_picture: list[Worst]


class Worst(TypedDict):
    """The lowest cosine and the lowest SQNR of several parts."""

    cosine: float
    sqnr_db: float


def compare(out: Path, *, reference: Path, artifact: Path, spec: Path) -> DistanceFacts:
    """Compares the raw outputs that two evaluations kept, by the parts that the task separates (such as boxes and
    scores): the worst of them is the figure.

    Args:
        reference: folder of `accuracy.evaluate` for the float model.
        artifact: folder of the same step for the artifact.
        spec: the artifact's spec.json, which says how its output is laid out.

    Returns:
        max (largest difference in the first part; of boxes, in pixels of the input), cosine and sqnr_db (each the worst
        of all parts), parts (name to max, cosine and sqnr_db, over all pictures), per_picture (cosine and sqnr_db of
        each).
    """
    task = read_spec(spec).task
    pairs = [
        task.parts(*(_outputs(folder / "raw", picture) for folder in (reference, artifact)))
        for picture in range(len(list((reference / "raw").glob("*_0.npy"))))
    ]
    parts = {name: measure(*(_joined(pairs, name, side) for side in (0, 1))) for name in pairs[0]}
    least = worst(parts)
    return {
        "max": next(iter(parts.values()))["max"],
        "cosine": least["cosine"],
        "sqnr_db": least["sqnr_db"],
        "parts": parts,
        "per_picture": [worst({name: measure(*pair) for name, pair in picture.items()}) for picture in pairs],
    }


def _outputs(folder: Path, picture: int) -> list[np.ndarray]:
    """Returns the raw outputs of one picture, in their order."""
    return [np.load(folder / f"{picture}_{number}.npy") for number in range(len(list(folder.glob(f"{picture}_*.npy"))))]


def measure(reference: np.ndarray, artifact: np.ndarray) -> PartDistance:
    """Returns three distances of `artifact` from `reference`, arrays of one shape.

    max: the largest absolute difference. cosine: of the angle between the two as vectors; 1 is equal, and a zero vector
    has 0 to all but zero vectors. sqnr_db: signal to quantization noise ratio, 10 log10(sum r^2 / sum (r - a)^2), in
    decibels, at most `SQNR_LIMIT_DB`.
    """
    expected, actual = reference.astype(np.float64).ravel(), artifact.astype(np.float64).ravel()
    signal, power, noise = expected @ expected, actual @ actual, ((expected - actual) ** 2).sum()
    if noise == 0:
        return {"max": 0.0, "cosine": 1.0, "sqnr_db": SQNR_LIMIT_DB}
    cosine = (expected @ actual) / np.sqrt(signal * power) if signal and power else 0.0
    sqnr = min(10 * np.log10(signal / noise), SQNR_LIMIT_DB) if signal else 0.0
    return {
        "max": round(float(np.abs(expected - actual).max()), 6),
        "cosine": round(float(cosine), 8),
        "sqnr_db": round(float(sqnr), 3),
    }


def worst(parts: Mapping[str, PartDistance]) -> Worst:
    """Returns the lowest cosine and the lowest SQNR of several parts."""
    return Worst(
        cosine=min(part["cosine"] for part in parts.values()), sqnr_db=min(part["sqnr_db"] for part in parts.values())
    )


def _joined(pairs: list[dict[str, tuple[np.ndarray, np.ndarray]]], name: str, side: int) -> np.ndarray:
    """Returns one part of one side of all pictures, flat."""
    return np.concatenate([picture[name][side].ravel() for picture in pairs])
