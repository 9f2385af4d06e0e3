"""Proof that a rewritten model still computes the same: both run on one fixed input, and their outputs are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecompile.errors import StepError

BOX_TOLERANCE = 2e-4
"""Largest allowed difference of a box coordinate, as a fraction of the picture's longer side (0.064 px at 320 px).

Float summation order alone moves boxes by about 1e-5 of the side; a wrong graph by far more than 1e-2."""
SCORE_TOLERANCE = 1e-3
"""Largest allowed difference of a class score (0..1)."""

EXACT_ON_X86 = ("session.x64quantprecision", "1")
"""Option of ONNX Runtime by which an x86 CPU without VNNI adds products of 8 bits without overflow, as one with it does
(there it changes nothing). Without it, a quantized graph computes something else on each kind of machine."""


def single_thread_session(model: bytes, *, optimize: str = "ORT_ENABLE_BASIC") -> Any:
    """Opens an ONNX Runtime session on the CPU that sums in one order, whatever cores are free.

    Args:
        model: a serialized model.
        optimize: member of `onnxruntime.GraphOptimizationLevel`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, optimize)
    options.log_severity_level = 3
    options.add_session_config_entry(*EXACT_ON_X86)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def fixed_input(shape: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Returns made-up float32 pictures of `shape`; where that is dynamic (-1), one picture of height and width `size`.

    Soft blobs plus noise, so that both coarse and fine feature maps respond.
    """
    count, channels = (1 if value < 1 else value for value in shape[:2])
    height, width = size
    noise = np.random.default_rng(0)
    coarse = noise.random((count, channels, math.ceil(height / 32), math.ceil(width / 32)), dtype=np.float32)
    blobs = coarse.repeat(32, axis=2).repeat(32, axis=3)[:, :, :height, :width]
    fine = noise.random((count, channels, height, width), dtype=np.float32)
    return np.ascontiguousarray(0.7 * blobs + 0.3 * fine, dtype=np.float32)


def run(model: bytes, picture: np.ndarray) -> np.ndarray:
    """Returns the first output of an ONNX model on `picture`, on one thread, fully optimized."""
    session = single_thread_session(model, optimize="ORT_ENABLE_ALL")
    return session.run(None, {session.get_inputs()[0].name: picture})[0]


def differences(before: np.ndarray, after: np.ndarray, decode: str) -> dict[str, float]:
    """Returns the largest differences of boxes (pixels) and of scores between two outputs of a detection model.

    Rows of an end-to-end output whose scores nearly tie may swap places: they are matched, not compared in place.
    """
    if before.shape != after.shape:
        raise StepError(f"the output changed its shape from {list(before.shape)} to {list(after.shape)}")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise StepError("the model puts out numbers that are not finite")
    if decode == "end2end":
        return _matched(before, after)
    gap = np.abs(before - after)
    return {"boxes": float(gap[:, :4].max()), "scores": float(gap[:, 4:].max(initial=0.0))}


def _matched(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Largest differences of (n, detections, 6) outputs, each row matched with the most similar one.

    Detections whose score is that of the last one kept may be replaced by others that tie with it: they are left out
    of the boxes.
    """
    boxes = scores = 0.0
    for ours, theirs in zip(before, after, strict=True):
        scores = max(scores, float(np.abs(np.sort(ours[:, 4]) - np.sort(theirs[:, 4])).max()))
        last = max(ours[:, 4].min(), theirs[:, 4].min()) + SCORE_TOLERANCE
        for row in ours[ours[:, 4] > last]:
            rivals = theirs[(np.abs(theirs[:, 4] - row[4]) <= SCORE_TOLERANCE) & (theirs[:, 5] == row[5])]
            gap = np.abs(rivals[:, :4] - row[:4]).max(axis=1).min() if len(rivals) else math.inf
            boxes = max(boxes, float(gap))
    return {"boxes": boxes, "scores": scores}


def require_agreement(gaps: dict[str, float], size: Sequence[int], what: str) -> dict[str, float]:
    """Returns `gaps` rounded up to two digits, for a step's facts.

    Args:
        gaps: what `differences` returned.
        size: height and width of the picture in pixels.
        what: what was done to the model, for the message.

    Raises:
        StepError: when the outputs differ by more than rounding explains.
    """
    limits = {"boxes": BOX_TOLERANCE * max(size), "scores": SCORE_TOLERANCE}
    for part, gap in gaps.items():
        if not gap <= limits[part]:
            raise StepError(
                f"{what} changed what the model computes: {part} differ by {gap:.3g}, allowed {limits[part]:.3g}"
            )
    return {part: _round_up(gap) for part, gap in gaps.items()}


def largest(*proofs: dict[str, float]) -> dict[str, float]:
    """Returns the largest difference of each part over several comparisons."""
    parts = dict.fromkeys(part for proof in proofs for part in proof)
    return {part: max(proof[part] for proof in proofs if part in proof) for part in parts}


def _round_up(value: float) -> float:
    """Rounds up to two significant digits, so that facts hold no noise of the last bits."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit) * unit:.1e}")
