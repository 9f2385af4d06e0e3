"""Proof that a rewritten model still computes the same: both run on one fixed input, and their outputs are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecompile.errors import StepError
from edgecompile.evaluate.tasks import Gaps, find_task
from edgecompile.runtime.spec_document import SpecDocument

COLOURS = 3
"""Channels of pictures whose order models and OpenCV do not share."""

EXACT_ON_X86 = ("session.x64quantprecision", "1")
"""Option of ONNX Runtime by which an x86 CPU without VNNI adds products of 8 bits without overflow, as a CPU with VNNI
does (there it changes nothing). Without it, a quantized graph computes something else on each kind of machine."""


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


def fixed_pictures(shape: Sequence[int], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the same made-up pictures twice: float32 (n, channels, h, w) of whole numbers 0..255, ordered as a model
    takes them before preprocessing is built in, and uint8 (n, h, w, channels), in OpenCV's order where they have three
    channels.

    The caller scales the first as the graph does that he compares with: v / 255 and v * (1 / 255) differ in their last
    bit, which may round to the next of 256 levels.

    Args:
        shape: as for `fixed_input`; `size` too.
    """
    values = np.round(fixed_input(shape, size) * 255)
    ordered = values[:, ::-1] if values.shape[1] == COLOURS else values
    pixels = np.ascontiguousarray(ordered.transpose(0, 2, 3, 1)).astype(np.uint8)
    return values, pixels


def run(model: bytes, picture: np.ndarray) -> list[np.ndarray]:
    """Returns the outputs of an ONNX model on `picture`, on one thread, fully optimized."""
    session = single_thread_session(model, optimize="ORT_ENABLE_ALL")
    return session.run(None, {session.get_inputs()[0].name: picture})


def differences(before: Sequence[np.ndarray], after: Sequence[np.ndarray], spec: SpecDocument) -> Gaps:
    """Returns the largest differences between the outputs of two graphs, by part, as the task of the model separates
    them.

    Args:
        before: outputs of one graph, in its order.
        after: outputs of the other.
        spec: the document of `spec.json`.

    Raises:
        StepError: an output has another shape, or holds numbers that are not finite.
    """
    shapes = [[list(output.shape) for output in outputs] for outputs in (before, after)]
    if shapes[0] != shapes[1]:
        old, new = (", ".join(map(str, output_shapes)) for output_shapes in shapes)
        raise StepError(f"the outputs changed their shapes from {old} to {new}")
    if not all(np.isfinite(output).all() for output in (*before, *after)):
        raise StepError("the model puts out numbers that are not finite")
    return find_task(spec["task"]).gaps(before, after, spec)


def require_agreement(
    before: Sequence[np.ndarray], after: Sequence[np.ndarray], spec: SpecDocument, size: Sequence[int], action: str
) -> Gaps:
    """Returns the differences of two outputs rounded up to two digits, for a step's facts.

    Args:
        before: as for `differences`.
        after: as for `differences`.
        spec: as for `differences`.
        size: height and width of the picture in pixels.
        action: what was done to the model, for the message.

    Raises:
        StepError: the outputs differ by more than rounding explains; or as `differences`.
    """
    gaps, limits = differences(before, after, spec), find_task(spec["task"]).tolerances(size)
    for part, gap in gaps.items():
        if not gap <= limits[part]:
            raise StepError(
                f"{action} changed what the model computes: {part} differ by {gap:.3g}, allowed {limits[part]:.3g}"
            )
    return {part: _round_up(gap) for part, gap in gaps.items()}


def largest(*proofs: Gaps) -> Gaps:
    """Returns the largest difference of each part over several comparisons."""
    parts = dict.fromkeys(part for proof in proofs for part in proof)
    return {part: max(proof[part] for proof in proofs if part in proof) for part in parts}


def _round_up(value: float) -> float:
    """Rounds up to two significant digits, so that facts hold no noise of the last bits."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit) * unit:.1e}")
