"""The task, the names of classes, and the numbers of key points and of channels that a file of weights states."""

from __future__ import annotations

from pathlib import Path

from edgecompile.weights.checkpoint import read_checkpoint
from edgecompile.weights.onnx_header import read_header


def stated_task(weights: Path) -> str | None:
    """Returns the task that a checkpoint or an ONNX file states; None where it states none that can be read."""
    if weights.suffix == ".onnx":
        header = read_header(weights)
        return header.metadata.get("task") if header else None
    checkpoint = read_checkpoint(weights)
    return checkpoint.task if checkpoint else None


def stated_names(weights: Path) -> tuple[str, ...] | None:
    """Returns the names of the classes of a checkpoint, by number; None where it states none that can be read."""
    checkpoint = None if weights.suffix == ".onnx" else read_checkpoint(weights)
    return checkpoint.names if checkpoint else None


def stated_key_points(weights: Path) -> int | None:
    """Returns how many key points of an object a checkpoint puts out; None where it states none that can be read."""
    checkpoint = None if weights.suffix == ".onnx" else read_checkpoint(weights)
    return checkpoint.key_points if checkpoint else None


def stated_channels(weights: Path) -> int | None:
    """Returns how many channels the pictures of a checkpoint or an ONNX file have; None where that cannot be read."""
    if weights.suffix != ".onnx":
        checkpoint = read_checkpoint(weights)
        return checkpoint.channels if checkpoint else None
    header = read_header(weights)
    shapes = [entry.shape for entry in header.inputs if len(entry.shape) == 4] if header else []
    counts = {side for shape in shapes for side in (shape[1], shape[3]) if side in (1, 3, 4)}
    return counts.pop() if len(counts) == 1 else None
