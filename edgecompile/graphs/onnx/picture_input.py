"""The input of a detection model of unknown origin: found, checked against what the recipe asks for, its axes fixed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgecompile.errors import StepError
from edgecompile.plan.shapes import Profile, merged
from edgecompile.runtime.spec import LARGEST_INPUT
from edgecompile.weights.onnx_header import ELEMENT_TYPES, FLOAT

if TYPE_CHECKING:
    import onnx

AXES = ("batch", "channels", "height", "width")


def only_input(model: onnx.ModelProto) -> tuple[onnx.ValueInfoProto, list[int]]:
    """Returns the graph's one input and its shape, -1 where that is open. Weights that old files list among the inputs
    are taken off that list.

    Raises:
        StepError: when there are several, or it takes no float32 pictures of three channels.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in weights]
    require_one_input([entry.name for entry in entries])
    for entry in [entry for entry in model.graph.input if entry.name in weights]:
        model.graph.input.remove(entry)
        model.ir_version = max(model.ir_version, 4)  # from which on weights need not be inputs
    entry, kind = model.graph.input[0], model.graph.input[0].type.tensor_type
    require_float32(entry.name, kind.elem_type)
    opened = [side.dim_value if side.dim_value > 0 else -1 for side in kind.shape.dim]
    require_channels(opened)
    return entry, opened


def require_one_input(names: Sequence[str]) -> None:
    """Demands that there is one input.

    Raises:
        StepError: there is none, or there are several.
    """
    if len(names) != 1:
        listed = f" ({', '.join(name[:60] for name in names[:4])})" if names else ""
        raise StepError(f"the model has {len(names)} inputs{listed}; a detection model has one, the picture")


def require_float32(name: str, element_type: int) -> None:
    """Demands that an input takes float32.

    Args:
        element_type: as ONNX numbers it.

    Raises:
        StepError: it does not.
    """
    if element_type != FLOAT:
        kind = ELEMENT_TYPES.get(element_type, "no tensor of numbers")
        fix = "export the model with a float32 input: edgecompile builds the scaling of bytes in"
        raise StepError(f"the model's input '{name[:60]}' is {kind}, expected float32", fix=fix)


def require_channels(opened: Sequence[int]) -> None:
    """Demands that an input takes pictures of three channels, channels first.

    Raises:
        StepError: it does not.
    """
    if len(opened) != 4 or opened[1] in (-1, 3):
        return
    if opened[3] == 3:
        fix = "export the model with its channels first: (n, 3, height, width)"
        raise StepError(f"the model's input has the shape {shown(opened)}: its channels stand last", fix=fix)
    count = "1 channel" if opened[1] == 1 else f"{opened[1]} channels"
    raise StepError(
        f"the model takes pictures of {count} (its input has the shape {shown(opened)}); only 3 are supported"
    )


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
    if len(opened) != 4 or not all(side > 0 and side % 32 == 0 for side in opened[2:]):
        return ""
    height, width = opened[2:]
    return f"set model.imgsz={height if height == width else f'[{height},{width}]'}"
