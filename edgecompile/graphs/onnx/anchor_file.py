"""Anchors of all cells, from a file beside a model: an array of NumPy (.npy), a list of lists (.json), or lines
of four numbers (.txt), with or without commas. The file may come from a stranger."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgecompile.errors import StepError

LARGEST = 32 << 20
"""Most bytes of such a file: 2 million anchors as float32; SSD has 2 to 25 thousand, EfficientDet-D7 441 thousand."""
EXPECTED = "expected numbers in rows of four"


def read_anchors(path: Path) -> np.ndarray:
    """Returns anchors, float32 (anchors, 4).

    Raises:
        StepError: the file is too large, or holds something else.
    """
    if path.stat().st_size > LARGEST:
        raise StepError(f"'{path.name}' is larger than {LARGEST >> 20} MiB, which no file of anchors is")
    try:
        values = READERS[path.suffix](path)
    except (ValueError, TypeError, OSError, RecursionError, OverflowError) as error:
        raise StepError(f"'{path.name}' cannot be read as anchors, {EXPECTED}") from error
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 2 or values.shape[1] != 4 or not len(values) or values.dtype.kind not in "fiu":
        raise StepError(f"'{path.name}' holds an array of shape {list(values.shape)} of {values.dtype}, {EXPECTED}")
    anchors = np.array(values, np.float32)
    if not np.isfinite(anchors).all():
        raise StepError(f"'{path.name}' holds numbers that are not finite")
    return anchors


def _read_array(path: Path) -> np.ndarray:
    """Reads .npy by mapping it, which fails where it states more numbers than it has, or objects."""
    return np.lib.format.open_memmap(path, mode="r")


def _read_json(path: Path) -> np.ndarray:
    return np.asarray(json.loads(path.read_text(encoding="utf-8")))


def _read_text(path: Path) -> np.ndarray:
    lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
    return np.asarray([[float(word) for word in line.split()] for line in lines if line.strip()])


READERS = {".npy": _read_array, ".json": _read_json, ".txt": _read_text}
"""Ending of a file to how it is read."""
