"""The input of a detection model of unknown origin: found, checked against what the recipe asks for, its axes fixed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.stated import StatedInput
from edgecompile.plan.shapes import Profile, merged
from edgecompile.runtime.spec import LARGEST_INPUT
from edgecompile.weights.onnx_header import ELEMENT_TYPES, FLOAT

if TYPE_CHECKING:
    import onnx

COLOR_CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1, "BGRA": 4, "RGBA": 4}
"""Order of channels to how many there are."""

AXES = ("batch", "channels", "height", "width")


PICTURE_TYPES = {FLOAT: "float32", 10: "float16", 2: "uint8"}
"""Element types of an input that takes pictures, as ONNX numbers them."""
CHANNELS = (1, 3, 4)

FILLED_IN = {
    "orig_target_sizes": "width and height",
    "im_shape": "height and width",
    "image_shape": "height and width",
    "scale_factor": "ones",
}
"""Second inputs of exported detectors, by which boxes come in pixels of some picture: filled in with those of the
input, since the runtime brings boxes back itself."""


@dataclass(frozen=True)
class PictureForm:
    """How an input takes pictures.

    Attributes:
        opened: its shape as (n, channels, h, w), -1 where that is open.
        layout: "NCHW" or "NHWC", as it is.
        dtype: "float32", "float16" or "uint8".
        channels: of its pictures.
    """

    opened: tuple[int, ...]
    layout: str
    dtype: str
    channels: int


def form_of(name: str, element_type: int, shape: Sequence[int], statement: StatedInput) -> PictureForm:
    """Returns how an input takes pictures.

    Args:
        name: of the input.
        element_type: as ONNX numbers it.
        shape: -1 where it is open.
        statement: of the recipe, see `InputStatement`.

    Raises:
        StepError: it takes none, or others than the recipe states.
    """
    dtype = PICTURE_TYPES.get(element_type)
    if dtype is None:
        kind = ELEMENT_TYPES.get(element_type, "no tensor of numbers")
        expected = ", ".join(PICTURE_TYPES.values())
        raise StepError(f"the model's input '{name[:60]}' is {kind}, expected one of {expected}")
    if statement.get("dtype") not in (None, dtype):
        message = f"passes.onnx_import.input.dtype is {statement['dtype']}, and the model's input is {dtype}"
        raise StepError(message, fix="leave dtype out: the file says it")
    if len(shape) != 4:
        raise StepError(f"the model's input has the shape {shown(shape)}, expected four axes: those of pictures")
    wanted = COLOR_CHANNELS.get(statement.get("color") or "")
    counts = (wanted,) if wanted else CHANNELS
    first, last = shape[1] in counts, shape[3] in counts
    layout = statement.get("layout") or ("NHWC" if last and not first else "NCHW")
    opened = tuple(shape) if layout == "NCHW" else (shape[0], shape[3], *shape[1:3])
    channels = opened[1]
    if channels == -1:
        channels = wanted or 3
    if channels not in counts:
        count = "1 channel" if channels == 1 else f"{channels} channels"
        expected = " or ".join(map(str, counts))
        message = f"the model takes pictures of {count} (its input has the shape {shown(shape)}), expected {expected}"
        raise StepError(message, fix="state passes.onnx_import.input.layout or color where that is wrong")
    return PictureForm((opened[0], channels, *opened[2:]), layout, dtype, channels)


def only_input(model: onnx.ModelProto, statement: StatedInput, size: Sequence[int]) -> tuple[PictureForm, list[str]]:
    """Returns how the graph's one input takes pictures, and what was changed. Weights that old files list among the
    inputs are taken off that list, and so are inputs of sizes of pictures, which become constants.

    Args:
        statement: of the recipe.
        size: height and width of pictures.

    Raises:
        StepError: when there are several, or it takes no pictures.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    for entry in [entry for entry in model.graph.input if entry.name in weights]:
        model.graph.input.remove(entry)
        model.ir_version = max(model.ir_version, 4)  # from which on weights need not be inputs
    changes = _fill_in(model, size)
    require_one_input([entry.name for entry in model.graph.input])
    entry, kind = model.graph.input[0], model.graph.input[0].type.tensor_type
    opened = [side.dim_value if side.dim_value > 0 else -1 for side in kind.shape.dim]
    return form_of(entry.name, kind.elem_type, opened, statement), changes


def _fill_in(model: onnx.ModelProto, size: Sequence[int]) -> list[str]:
    """Makes constants, in place, of the inputs that `FILLED_IN` names."""
    import numpy as np
    from onnx import helper, numpy_helper

    height, width = size
    values = {"width and height": [width, height], "height and width": [height, width], "ones": [1, 1]}
    changes = []
    for entry in [entry for entry in model.graph.input if entry.name in FILLED_IN and len(model.graph.input) > 1]:
        content = FILLED_IN[entry.name]
        kind = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        model.graph.initializer.append(numpy_helper.from_array(np.array([values[content]], kind), entry.name))
        model.graph.input.remove(entry)
        changes.append(f"the input '{entry.name}' is a constant: {content} of the model's input")
    return changes


def pictures_among(names: Sequence[str]) -> list[str]:
    """Returns the inputs that are none of those that are filled in."""
    return [name for name in names if name not in FILLED_IN] if len(names) > 1 else list(names)


def require_one_input(names: Sequence[str]) -> None:
    """Demands that there is one input.

    Raises:
        StepError: there is none, or there are several.
    """
    if len(names) != 1:
        listed = f" ({', '.join(name[:60] for name in names[:4])})" if names else ""
        raise StepError(f"the model has {len(names)} inputs{listed}; a detection model has one, the picture")


def agreed(opened: Sequence[int], shapes: Profile) -> Profile:
    """Returns the shapes that the recipe asks for; a batch that the file fixes stands where the recipe names none.

    Raises:
        StepError: when the file does not take them, or they are more than any model can be fed at once.
    """
    if len(opened) == 4 and opened[0] > 0 and all(shape[0] == 1 for shape in shapes.values()):
        shapes = {point: [opened[0], *shape[1:]] for point, shape in shapes.items()}
    needed = merged(shapes)
    count, channels, *size = shapes["max"]
    if 4 * math.prod((count, channels, *size)) > LARGEST_INPUT:
        most = f"the {LARGEST_INPUT / 1e9:.1f} GB that a model can be fed at once"
        raise StepError(f"the model takes {count} pictures of {size[0]}x{size[1]} at once, more than {most}")
    fits = (side in (-1, need) for side, need in zip(opened, needed, strict=True) if need > 0)
    if len(opened) != 4 or not all(fits):
        expected = ", ".join("n" if side == -1 or axis == 0 else str(side) for axis, side in enumerate(needed))
        raise StepError(f"the model's input has the shape {shown(opened)}, expected ({expected})", fix=_size(opened))
    if closed := [AXES[axis] for axis, need in enumerate(needed) if need == -1 and opened[axis] != -1]:
        raise StepError(
            f"the model's input has the shape {shown(opened)}, and model.dynamic asks for another {closed[0]} at run "
            "time",
            fix="export the file with dynamic axes, or leave model.dynamic out",
        )
    return shapes


def with_channels(shapes: Profile, channels: int) -> Profile:
    """Returns the shapes of a profile for pictures of a number of channels."""
    return {point: [shape[0], channels, *shape[2:]] for point, shape in shapes.items()}


def fix_axes(entry: onnx.ValueInfoProto, shape: Sequence[int], opened: Sequence[int]) -> list[str]:
    """Fixes the axes of the input that the file leaves open and `shape` does not, in place; returns what was fixed."""
    changes = []
    for axis, (side, opened_side) in enumerate(zip(shape, opened, strict=True)):
        if opened_side == -1 and side != -1:
            entry.type.tensor_type.shape.dim[axis].dim_value = side
            changes.append(f"{AXES[axis]} fixed at {side}")
    return changes


def shown(shape: Sequence[int]) -> str:
    """Returns a shape for a person, as "(n, 3, 640, 640)"."""
    return "(" + ", ".join("n" if side == -1 else str(side) for side in shape) + ")"


def _size(opened: Sequence[int]) -> str:
    """Returns the fix for a size that the file does not take: its own, where a recipe can name that."""
    if len(opened) != 4 or not all(side > 0 for side in opened[2:]):
        return ""
    height, width = opened[2:]
    return f"set model.imgsz={height if height == width else f'[{height},{width}]'}"
