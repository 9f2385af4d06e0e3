"""The picture size of weights where the recipe names none: the size of their training, as Ultralytics takes it.

A checkpoint states it among the settings of its training, an ONNX file by the shape of its input or in its metadata.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.errors import Problem, RecipeError
from edgecompile.evaluate.tasks import chosen_task, find_task, task_names
from edgecompile.plan.shapes import sides
from edgecompile.recipe.locate import Origins
from edgecompile.weights.checkpoint import read_checkpoint
from edgecompile.weights.onnx_header import OnnxInput, read_header
from edgecompile.weights.stated_task import stated_task

if TYPE_CHECKING:
    from edgecompile.recipe.schema import ModelSettings

LARGEST = 4096
COLOURS = (1, 3, 4)
LONGEST = 40
"""Characters of a size that is written as text."""


@dataclass(frozen=True)
class TrainingSize:
    """Height and width in pixels, and how that was found, for a person."""

    imgsz: tuple[int, int]
    note: str


def training_size(weights: Path, where: str, task: str) -> TrainingSize:
    """Returns the size of weights, read off the file without running any of it.

    Args:
        task: what the model is for.
        where: the key of the recipe that names the weights.

    Raises:
        RecipeError: the file states no size that can be read, or a size that cannot be compiled.
    """
    usual = find_task(task).usual_size
    multiple = 1 if weights.suffix == ".onnx" else find_task(task).size_multiple
    size = _of_onnx(weights, usual) if weights.suffix == ".onnx" else _of_checkpoint(weights, multiple, usual)
    if size is None:
        kind = "an ONNX file" if weights.suffix == ".onnx" else "a checkpoint of Ultralytics"
        message = f"'{weights.name}' does not read as {kind}, so its picture size is not known"
        raise RecipeError(message, where=where, fix="check the file, or set model.imgsz")
    if any(side % multiple or not 0 < side <= LARGEST for side in size.imgsz):
        text = "x".join(map(str, size.imgsz))
        message = f"'{weights.name}' takes pictures of {text}; sizes are {_multiples(multiple)}up to {LARGEST}"
        raise RecipeError(message, where=where, fix="set model.imgsz to a size that the weights take")
    return size


def odd_sizes(model: ModelSettings, weights: Path | None, origins: Origins) -> list[Problem]:
    """Returns the problem of a size in a recipe that models of its task do not take.

    Args:
        weights: the file, which may state the task; None where it is not there.
        origins: where each key was set.
    """
    key: tuple[str, ...] = ("imgsz",)
    sizes = [] if model.imgsz is None else [model.imgsz]
    if model.dynamic is not None and model.dynamic.imgsz is not None:
        key, sizes = ("dynamic", "imgsz"), list(model.dynamic.imgsz)
    if not any(side % multiple for size in sizes for side in sides(size) for multiple in _all_multiples()):
        return []  # and the weights are not read
    if weights is not None and weights.suffix == ".onnx":
        return []  # of any size that its file takes, which the import checks
    multiple = find_task(chosen_task(model.task, stated_task(weights) if weights else None)).size_multiple
    odd = [size for size in sizes if any(side % multiple for side in sides(size))]
    return [
        Problem(f"found {_shown(sides(size))}, expected a multiple of {multiple}", str(origins.of("model", *key)))
        for size in odd[:1]
    ]


def _all_multiples() -> set[int]:
    return {find_task(name).size_multiple for name in task_names()}


def _multiples(multiple: int) -> str:
    return f"multiples of {multiple} " if multiple > 1 else ""


def _of_checkpoint(weights: Path, multiple: int, usual: int) -> TrainingSize | None:
    checkpoint = read_checkpoint(weights)
    if checkpoint is None:
        return None
    if "imgsz" not in checkpoint.train_args:
        return _unstated(weights, usual)
    sides = _sides(checkpoint.train_args["imgsz"])
    if sides is None:
        return None
    whole = tuple(-(-side // multiple) * multiple for side in sides)
    rounded = "" if whole == sides else f", rounded up from {_shown(sides)} to a multiple of {multiple}"
    return _stated(weights, whole, f"was trained at{rounded}")


def _of_onnx(weights: Path, usual: int) -> TrainingSize | None:
    header = read_header(weights)
    if header is None:
        return None
    sides = next((sides for entry in header.inputs if (sides := _sides_of(entry))), None)
    if sides:
        return _stated(weights, sides, "takes")
    if "imgsz" not in header.metadata:
        return _unstated(weights, usual)
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


def _unstated(weights: Path, usual: int) -> TrainingSize:
    return TrainingSize((usual, usual), f"model.imgsz is {usual}: '{weights.name}' states no size, nor does the recipe")


def _shown(sides: Sequence[int]) -> str:
    return str(sides[0]) if sides[0] == sides[1] else f"[{sides[0]}, {sides[1]}]"
