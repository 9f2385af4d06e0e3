"""Ranges of activations, measured on pictures: minimum and maximum, percentile, or smallest loss of information.

One picture is in memory at a time, and of its activations at most `FETCH_BYTES`; the session runs on one thread, so the
ranges do not depend on how many cores are free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import onnx

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.agreement import single_thread_session

FETCH_BYTES = 256 * 2**20
"""How many bytes of activations are taken from the session in one run; more are taken in further runs."""
BINS = 2048
"""Bins of the histogram of each tensor, as in TensorRT's calibrator."""
LEVELS = 256
"""Numbers that 8 bits can represent."""

GAIN = 0.5
"""Largest share of the mean squared error of the whole range that a range cut by "entropy" may have.

The divergence alone cuts the strongest activations of a SiLU net off, for most of its values lie near zero: mAP50-95 of
YOLO11n on blood cells (320 pixels, ONNX Runtime) fell by 4.6 points against "minmax", that of the embedded sample by 4
to 6. With 1.0 here these are 0.8, 0.6 and 0.4 points; with 0.5 they are -0.3 (better), 0 and 0.
"""

Range = tuple[float, float]


def measure_ranges(
    model: onnx.ModelProto,
    pictures: Callable[[], Iterable[np.ndarray]],
    *,
    method: str,
    percentile: float,
) -> dict[str, Range]:
    """Returns the lowest and highest value to represent, for every float activation of `model`.

    Args:
        pictures: gives the input tensors; called once for "minmax", twice for the other methods.
        method: "minmax", "percentile" or "entropy".
        percentile: share of the values, in percent, that "percentile" keeps; the rest saturates, half at either end.

    Raises:
        StepError: when a picture makes an activation that is not finite.
    """
    typed = onnx.shape_inference.infer_shapes(model)
    groups = list(_groups(_float_activations(typed)))
    session = _session_with_outputs(typed, [name for group in groups for name in group])
    ranges = _minimum_and_maximum(_activations(session, groups, pictures()))
    if method == "minmax":
        return ranges
    counts = _histograms(_activations(session, groups, pictures()), ranges)
    choose = {"percentile": lambda c, r: _keep_share(c, r, percentile), "entropy": _least_divergence}[method]
    return {name: choose(counts[name], limits) for name, limits in ranges.items()}


def _float_activations(model: onnx.ModelProto) -> dict[str, int]:
    """Returns name -> bytes of each float tensor that a node puts out, and of the inputs; unknown sizes as 1 MiB."""
    infos = {info.name: info for info in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    names = [info.name for info in model.graph.input] + [
        name for node in model.graph.node for name in node.output if name
    ]
    constants = {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    sizes = {}
    for name in names:
        info = infos.get(name)
        if info is None or name in constants or info.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            continue
        sides = [dimension.dim_value for dimension in info.type.tensor_type.shape.dim]
        sizes[name] = 4 * int(np.prod(sides)) if all(sides) else 2**20
    return sizes


def _groups(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Splits the tensors into groups of at most `FETCH_BYTES` each."""
    group: list[str] = []
    total = 0
    for name, size in sizes.items():
        if group and total + size > FETCH_BYTES:
            yield group
            group, total = [], 0
        group.append(name)
        total += size
    if group:
        yield group


def _session_with_outputs(model: onnx.ModelProto, names: list[str]) -> Any:
    """Opens a session from which every tensor of `names` can be fetched."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    infos = {info.name: info for info in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    fetchable = {output.name for output in model.graph.output} | {entry.name for entry in model.graph.input}
    observed.graph.output.extend(infos[name] for name in names if name not in fetchable)
    return single_thread_session(observed.SerializeToString())


def _activations(
    session: Any, groups: list[list[str]], pictures: Iterable[np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields each tensor's values, picture after picture."""
    entry = session.get_inputs()[0].name
    for picture in pictures:
        for group in groups:
            if entry in group:
                yield entry, picture
            if fetched := [name for name in group if name != entry]:  # no names would fetch every output
                yield from zip(fetched, session.run(fetched, {entry: picture}), strict=True)


def _minimum_and_maximum(values: Iterable[tuple[str, np.ndarray]]) -> dict[str, Range]:
    ranges: dict[str, Range] = {}
    for name, tensor in values:
        low, high = float(tensor.min()), float(tensor.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise StepError(f"calibration: the activation '{name}' is not finite on some picture")
        so_far = ranges.get(name, (low, high))
        ranges[name] = (min(so_far[0], low), max(so_far[1], high))
    if not ranges:
        raise StepError("calibration: there are no pictures to calibrate with")
    return ranges


def _histograms(values: Iterable[tuple[str, np.ndarray]], ranges: dict[str, Range]) -> dict[str, np.ndarray]:
    """Counts values in `BINS` equal bins over the range of each tensor. Counts are exact, whatever the order."""
    counts = {name: np.zeros(BINS, dtype=np.int64) for name in ranges}
    for name, tensor in values:
        low, high = ranges[name]
        if high > low:
            bins = ((tensor.ravel() - np.float32(low)) * np.float32(BINS / (high - low))).astype(np.int32)
            counts[name] += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)
    return counts


def _keep_share(counts: np.ndarray, limits: Range, percentile: float) -> Range:
    """Cuts the share `100 - percentile` percent of the values off, half at either end; never past zero."""
    low, high = limits
    total = counts.sum()
    if not total:  # a constant tensor has no histogram
        return limits
    outside = (1 - percentile / 100) / 2 * total
    edges = np.linspace(low, high, BINS + 1)
    below = np.cumsum(counts)
    first = int(np.searchsorted(below, outside, side="right"))
    last = int(np.searchsorted(below, total - outside, side="left"))
    return min(float(edges[first]), max(low, 0.0)), max(float(edges[last + 1]), min(high, 0.0))


def _least_divergence(counts: np.ndarray, limits: Range) -> Range:
    """Clips both ends at the magnitude that loses least information (Kullback-Leibler) when 8 bits remain.

    After S. Migacz, "8-bit inference with TensorRT" (GTC 2017), for ranges that need not be symmetric: a candidate
    magnitude clips whichever end reaches beyond it. Only such candidates count that are also nearer to the values, see
    `GAIN`.
    """
    low, high = limits
    if not counts.sum():
        return limits
    edges = np.linspace(low, high, BINS + 1)
    best, chosen = np.inf, limits
    allowed = GAIN * _squared_error(counts, limits, limits)
    for share in np.linspace(LEVELS / BINS, 1, 113):
        magnitude = share * max(abs(low), abs(high))
        first = int(np.searchsorted(edges, -magnitude, side="right")) - 1 if low < -magnitude else 0
        last = int(np.searchsorted(edges, magnitude, side="left")) if high > magnitude else BINS
        clipped = float(edges[first]), float(edges[last])
        if last - first < LEVELS // 2 or _squared_error(counts, limits, clipped) > allowed:
            continue
        divergence = _divergence(counts, first, last)
        if divergence < best:
            best, chosen = divergence, clipped
    return chosen


def _squared_error(counts: np.ndarray, limits: Range, kept: Range) -> float:
    """Returns the mean squared error of values in 8 bits over the range `kept`, which is widened to hold zero: of
    rounding inside, of clipping outside.

    Args:
        counts: histogram of the values over `limits`.
    """
    width = (limits[1] - limits[0]) / BINS
    values = limits[0] + (np.arange(BINS) + 0.5) * width
    low, high = min(kept[0], 0.0), max(kept[1], 0.0)
    rounding = ((high - low) / (LEVELS - 1)) ** 2 / 12
    beyond = np.maximum(low - values, values - high)
    return float((counts * np.where(beyond > 0, beyond**2, rounding)).sum() / counts.sum())


def _divergence(counts: np.ndarray, first: int, last: int) -> float:
    """Kullback-Leibler divergence of the values from what remains when bins first..last-1 are kept in 256 levels."""
    kept = counts[first:last].astype(np.float64)
    clipped = kept.copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    levels = np.minimum(np.arange(last - first) * LEVELS // (last - first), LEVELS - 1)
    used = kept > 0
    sums = np.bincount(levels, weights=kept, minlength=LEVELS)
    filled = np.bincount(levels, weights=used, minlength=LEVELS)
    rebuilt = np.where(used, sums[levels] / np.maximum(filled[levels], 1), 0.0)
    if not rebuilt.sum():
        return np.inf
    true, guess = clipped / clipped.sum(), rebuilt / rebuilt.sum()
    seen = true > 0
    return float((true[seen] * np.log(true[seen] / np.maximum(guess[seen], 1e-12))).sum())
