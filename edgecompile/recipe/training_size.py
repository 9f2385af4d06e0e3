"""The picture size of weights where the recipe names none: the size of their training, as Ultralytics takes it.

A checkpoint states it among the settings of its training, an ONNX file by the shape of its input or in its metadata.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecompile.errors import RecipeError
from edgecompile.plan.shapes import UNSTATED_SIZE
from edgecompile.weights.checkpoint import read_checkpoint
from edgecompile.weights.onnx_header import OnnxInput, read_header

MULTIPLE = 32
LARGEST = 4096
COLOURS = (1, 3)
LONGEST = 40
"""Characters of a size that is written as text."""


@dataclass(frozen=True)
class TrainingSize:
    """Height and width in pixels, and how that was found, for a person."""

    imgsz: tuple[int, int]
    note: str


def training_size(weights: Path, where: str) -> TrainingSize:
    """Returns the size of weights, read off the file without running any of it.

    Args:
        where: the key of the recipe that names the weights.

    Raises:
        RecipeError: the file states no size that can be read, or a size that cannot be compiled.
    """
    size = _of_onnx(weights) if weights.suffix == ".onnx" else _of_checkpoint(weights)
    if size is None:
        kind = "an ONNX file" if weights.suffix == ".onnx" else "a checkpoint of Ultralytics"
        message = f"'{weights.name}' does not read as {kind}, so its picture size is not known"
        raise RecipeError(message, where=where, fix="check the file, or set model.imgsz")
    if any(side % MULTIPLE or not MULTIPLE <= side <= LARGEST for side in size.imgsz):
        text = "x".join(map(str, size.imgsz))
        message = f"'{weights.name}' takes pictures of {text}; sizes are multiples of {MULTIPLE} up to {LARGEST}"
        raise RecipeError(message, where=where, fix="set model.imgsz to a size that the weights take")
    return size


def _of_checkpoint(weights: Path) -> TrainingSize | None:
    checkpoint = read_checkpoint(weights)
    if checkpoint is None:
        return None
    if "imgsz" not in checkpoint.train_args:
        return _unstated(weights)
    sides = _sides(checkpoint.train_args["imgsz"])
    if sides is None:
        return None
    whole = tuple(-(-side // MULTIPLE) * MULTIPLE for side in sides)
    rounded = "" if whole == sides else f", rounded up from {_shown(sides)} to a multiple of {MULTIPLE}"
    return _stated(weights, whole, f"was trained at{rounded}")


def _of_onnx(weights: Path) -> TrainingSize | None:
    header = read_header(weights)
    if header is None:
        return None
    sides = next((sides for entry in header.inputs if (sides := _sides_of(entry))), None)
    if sides:
        return _stated(weights, sides, "takes")
    if "imgsz" not in header.metadata:
        return _unstated(weights)
    sides = _sides(header.metadata["imgsz"])
    return _stated(weights, sides, "states") if sides else None


NO_SIDE = 10**9
"""A number from which on a side is refused; it may be too long to be written."""


def _sides_of(entry: OnnxInput) -> tuple[int, int] | None:
    """Returns height and width of an input of pictures, channels first or last; None where an axis is open."""
    if len(entry.shape) != 4:
        return None
    last = entry.shape[1] not in COLOURS and entry.shape[3] in COLOURS
    height, width = entry.shape[1:3] if last else entry.shape[2:4]
    return (height, width) if height and width else None


def _sides(value: Any) -> tuple[int, int] | None:
    """Returns height and width of a size as Ultralytics takes it: a number, [side], [height, width], or its text."""
    if isinstance(value, str) and len(value) <= LONGEST:
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    sides = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2 or not all(type(side) is int and 0 < side < NO_SIDE for side in sides):
        return None
    return sides[0], sides[1]


def _stated(weights: Path, sides: tuple[int, ...], how: str) -> TrainingSize:
    height, width = sides
    return TrainingSize((height, width), f"model.imgsz is {_shown((height, width))}, which '{weights.name}' {how}")


def _unstated(weights: Path) -> TrainingSize:
    size = (UNSTATED_SIZE, UNSTATED_SIZE)
    return TrainingSize(size, f"model.imgsz is {UNSTATED_SIZE}: '{weights.name}' states no size, nor does the recipe")


def _shown(sides: tuple[int, int]) -> str:
    return str(sides[0]) if sides[0] == sides[1] else f"[{sides[0]}, {sides[1]}]"
