"""Shapes that may change from run to run: the profile of a model's input, as the recipe asks and the target allows."""

from __future__ import annotations

from typing import Any

POINTS = ("min", "opt", "max")
"""Points of a profile: smallest, usual and largest shape."""

Profile = dict[str, list[int]]
"""Each of `POINTS` to a whole shape (pictures, channels, height, width); of 3 channels until the weights say other."""


def profile_of(model: Any, target: Any, usual: list[int]) -> tuple[Profile | None, list[str]]:
    """Returns the shapes that the exported model takes, and a note on each axis that stays fixed all the same.

    Args:
        model: of the recipe: `dynamic`.
        target: says in `dynamic` which of "batch" and "imgsz" its runtime profits from as dynamic axes.
        usual: height and width, pixels, of a model that takes one size.

    Returns:
        None where one picture of `imgsz` is all that the model takes. An axis that the target wants fixed is as small
        as the recipe allows (batch: one picture then costs no more than it must) or as usual (imgsz).
    """
    dynamic = model.dynamic
    if dynamic is None:
        return None, []
    notes = []
    batches, sizes = dynamic.batch or (1, 1, 1), [sides(size) for size in dynamic.imgsz or (usual,) * 3]
    if "batch" not in target.dynamic and len(set(batches)) > 1:
        batches = (batches[0],) * 3
        notes.append(
            f"{target.device} takes a fixed batch: built for {_pictures(batches[0])}, model.dynamic.batch has no effect"
        )
    if "imgsz" not in target.dynamic and len(set(map(tuple, sizes))) > 1:
        sizes = [usual] * 3
        notes.append(
            f"{target.device} takes a fixed size: built for {usual[0]}x{usual[1]}, model.dynamic.imgsz has no effect"
        )
    profile = {point: [batch, 3, *size] for point, batch, size in zip(POINTS, batches, sizes, strict=True)}
    return (None if profile["min"] == profile["max"] == [1, 3, *usual] else profile), notes


def one_shape(imgsz: list[int]) -> Profile:
    """Returns the profile of a model that takes one picture of height and width `imgsz`."""
    return {point: [1, 3, *imgsz] for point in POINTS}


def with_channels(profile: Profile, channels: int) -> Profile:
    """Returns the profile of a model that takes pictures of so many channels."""
    return {point: [shape[0], channels, *shape[2:]] for point, shape in profile.items()}


def merged(profile: Profile) -> list[int]:
    """Returns the one shape that stands for those of a profile: -1 where they differ."""
    return [axis[0] if len(set(axis)) == 1 else -1 for axis in zip(*profile.values(), strict=True)]


def distinct(profile: Profile) -> list[list[int]]:
    """Returns the shapes of a profile, each once, the smallest first."""
    return [list(shape) for shape in dict.fromkeys(tuple(profile[point]) for point in POINTS)]


def sides(size: Any) -> list[int]:
    """Returns [height, width] of a recipe's size: the side of a square, or both."""
    return [size, size] if isinstance(size, int) else list(size)


def shown(profile: Profile | None) -> str:
    """Returns a profile as a person reads it, "320x320 to 640x640, 1 to 8 pictures"; "" for None."""
    if profile is None:
        return ""
    (few, _, *small), (many, _, *large) = profile["min"], profile["max"]
    size = f"{small[0]}x{small[1]}" + (f" to {large[0]}x{large[1]}" if small != large else "")
    return f"{size}, {_pictures(few) if few == many else f'{few} to {many} pictures'}"


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
