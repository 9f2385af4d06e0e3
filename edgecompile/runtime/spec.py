"""`spec.json` as typed data: how to feed a model, and how to read its outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecompile.errors import BundleError
from edgecompile.runtime.spec_document import SpecDocument
from edgecompile.runtime.tasks import Task, find_task

SCHEMA = 1
POINTS = ("min", "opt", "max")
LARGEST_SIDE = 16384
LARGEST_INPUT = 2 << 30
"""Bytes of a model's input: bounds the memory that a spec can ask for."""
GRAY = "GRAY"
LETTERBOX = "letterbox"
MOST_STACKED = 8
"""Largest batch of a model whose batch may change and whose spec names no largest batch: bounds the memory."""


@dataclass(frozen=True)
class Input:
    """The model's input.

    Attributes:
        name: of the tensor.
        shape: -1 stands for a size that may change from run to run.
        profile: smallest, usual and largest shape ("min", "opt", "max"), in the layout of the input; None where it is
            always the same.
        dtype: "float32", or "uint8" where scaling is built into the model.
        layout: "NCHW" or "NHWC".
        color: "RGB" or "BGR", "GRAY" for one channel, "BGRA" for four.
        scale, mean, std: a pixel v of channel c is fed as (v * scale - mean[c]) / std[c], channels as in `color`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    color: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    profile: Mapping[str, tuple[int, ...]] | None = None

    @property
    def channels(self) -> int:
        """Channels of the pictures."""
        return len(self.color) if self.color != GRAY else 1

    @property
    def batch(self) -> int:
        """Pictures of one run; -1 where it may change."""
        return self.shape[0]

    @property
    def batches(self) -> tuple[int, int]:
        """Fewest and most pictures of one run."""
        if self.batch != -1:
            return self.batch, self.batch
        return (self.profile["min"][0], self.profile["max"][0]) if self.profile else (1, MOST_STACKED)

    def size_at(self, point: str) -> tuple[int, int] | None:
        """Returns height and width at a point of the profile; None where there is none."""
        if self.profile is None:
            return None
        first = 2 if self.layout == "NCHW" else 1
        return self.profile[point][first], self.profile[point][first + 1]


@dataclass(frozen=True)
class Frame:
    """How a picture is brought to the model's size.

    Attributes:
        size: height and width that come out, pixels.
        fill: value of the border, 0..255.
        center: whether the picture stands in the middle, or is cut around it; else top left.
        scale_up: whether a smaller picture is enlarged.
        interpolation: "linear", "nearest", "area", "cubic", "antialias" or "antialias_cubic".
        resize: "letterbox": the whole picture, its sides in proportion, the rest filled; "stretch": the whole picture,
            its sides out of proportion; "crop": its sides in proportion, what is too long cut off.
        shortest: of "crop": pixels that the shortest side of the picture is scaled to; where None, as few as cover
            `size`.
    """

    size: tuple[int, int]
    fill: int
    center: bool
    scale_up: bool
    interpolation: str
    resize: str = LETTERBOX
    shortest: int | None = None


@dataclass(frozen=True)
class Spec:
    """A whole `spec.json`: how to feed a model, the task that reads its outputs, and the document it was read from."""

    names: tuple[str, ...]
    input: Input
    frame: Frame
    task: Task[Any]
    document: SpecDocument


CHOICES = {
    "input.dtype": ("float32", "uint8"),
    "input.layout": ("NCHW", "NHWC"),
    "input.color": ("RGB", "BGR", GRAY, "BGRA"),
    "letterbox.interpolation": ("linear", "nearest", "area", "cubic", "antialias", "antialias_cubic"),
    "letterbox.resize": (LETTERBOX, "stretch", "crop"),
}


def read_spec(source: SpecDocument | Path) -> Spec:
    """Reads a spec from its JSON document or from the file that holds it.

    Raises:
        BundleError: it is not the spec of a model that this runtime can follow.
    """
    if isinstance(source, Path):
        try:
            source = json.loads(source.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"cannot be read as a spec: {error}", where=str(source)) from None
    if not isinstance(source, Mapping) or source.get("schema") != SCHEMA:
        schema = source.get("schema") if isinstance(source, Mapping) else None
        raise BundleError(f"spec.json has schema {schema!r}, this runtime reads {SCHEMA}")
    task = _find_task(source.get("task"))
    try:
        spec = _build(source, task)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BundleError(f"spec.json lacks or misstates {error}") from None
    _check(spec)
    _check_size(spec)
    return spec


def _find_task(name: Any) -> type[Task[Any]]:
    try:
        return find_task(name if isinstance(name, str) else repr(name))
    except BundleError as error:
        raise BundleError(f"spec.json: {error.problems[0].message}") from None


def _build(document: SpecDocument, task: type[Task[Any]]) -> Spec:
    entry, letterbox = document["input"], document["letterbox"]
    names = tuple(str(name) for name in document["names"])
    parts = {"input": {**entry}, "letterbox": {"resize": LETTERBOX, **letterbox}}
    for key, choices in CHOICES.items():
        part, name = key.split(".")
        if (value := parts[part][name]) not in choices:
            raise BundleError(f"spec.json: {key} is {value!r}, this runtime does {', '.join(choices)}")
    reads = task(document, names)
    reads.categories = _categories(document.get("categories"), len(names))
    return Spec(
        names=names,
        input=Input(
            name=str(entry["name"]),
            shape=tuple(int(side) for side in entry["shape"]),
            dtype=entry["dtype"],
            layout=entry["layout"],
            color=entry["color"],
            scale=float(entry["scale"]),
            mean=tuple(float(value) for value in entry["mean"]),
            std=tuple(float(value) for value in entry["std"]),
            profile=_profile(entry.get("profile")),
        ),
        frame=Frame(
            size=(int(letterbox["size"][0]), int(letterbox["size"][1])),
            fill=int(letterbox["fill"]),
            center=bool(letterbox["center"]),
            scale_up=bool(letterbox["scale_up"]),
            interpolation=letterbox["interpolation"],
            resize=letterbox.get("resize", LETTERBOX),
            shortest=int(letterbox["shortest"]) if letterbox.get("shortest") is not None else None,
        ),
        task=reads,
        document=document,
    )


def _categories(ids: Any, count: int) -> tuple[int | None, ...]:
    if ids is None:
        return ()
    if not isinstance(ids, list) or len(ids) != count or not all(one is None or type(one) is int for one in ids):
        raise BundleError(f"spec.json: categories are no ids of {count} classes")
    return tuple(ids)


def _profile(document: Mapping[str, Sequence[int]] | None) -> dict[str, tuple[int, ...]] | None:
    if document is None:
        return None
    return {point: tuple(int(side) for side in document[point]) for point in POINTS}


def _check_profile(entry: Input, size: tuple[int, int]) -> None:
    """Demands that a profile rises, agrees with the shape, and has the letterbox's size in its middle."""
    if entry.profile is None:
        return
    lows, usuals, highs = (entry.profile[point] for point in POINTS)
    rises = all(0 < low <= usual <= high <= LARGEST_SIDE for low, usual, high in zip(lows, usuals, highs, strict=True))
    fits = all(side == -1 or low == high == side for side, low, high in zip(entry.shape, lows, highs, strict=True))
    if not rises or not fits or entry.size_at("opt") != size:
        raise BundleError(f"spec.json: the profile of the input does not fit its shape {list(entry.shape)}")


def _check(spec: Spec) -> None:
    """Demands that the parts of a spec agree with one another."""
    entry, (height, width) = spec.input, spec.frame.size
    count = entry.channels
    sides = (count, height, width) if entry.layout == "NCHW" else (height, width, count)
    fixed = tuple(side if given == -1 else given for given, side in zip(entry.shape[1:], sides, strict=False))
    if len(entry.shape) != 4 or fixed != sides:
        raise BundleError(
            f"spec.json: the input {list(entry.shape)} does not take {height}x{width} pictures in {entry.color}"
        )
    try:
        _check_profile(entry, spec.frame.size)
    except ValueError:
        raise BundleError("spec.json: the shapes of the input's profile differ in their number of axes") from None
    if entry.batch == 0 or entry.batch < -1 or not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise BundleError(f"spec.json: the input {list(entry.shape)} takes no pictures")
    plain = entry.scale == 1 and set(entry.mean) == {0.0} and set(entry.std) == {1.0}
    if entry.dtype == "uint8" and not plain:
        raise BundleError("spec.json: an input of bytes cannot be scaled outside of the model")
    if len(entry.mean) != count or len(entry.std) != count or 0 in entry.std:
        values = {1: "one value", 3: "three values", 4: "four values"}[count]
        raise BundleError(f"spec.json: mean and std need {values} each, and std no 0")
    if not 0 <= spec.frame.fill <= 255:
        raise BundleError(f"spec.json: letterbox.fill is {spec.frame.fill}, expected 0..255")
    shortest, longest = spec.frame.shortest, max(spec.input.size_at("max") or spec.frame.size)
    if shortest is not None and not (spec.frame.resize == "crop" and longest <= shortest <= LARGEST_SIDE):
        raise BundleError(f"spec.json: letterbox.shortest is {shortest}, expected {longest} or more, to crop from")


def _check_size(spec: Spec) -> None:
    """Demands that the model's input fits into `LARGEST_INPUT`."""
    height, width = spec.input.size_at("max") or spec.frame.size
    batch = spec.input.batches[1]
    size = batch * height * width * spec.input.channels * (4 if spec.input.dtype == "float32" else 1)
    if size > LARGEST_INPUT:
        most = f"the {LARGEST_INPUT / 1e9:.1f} GB that this runtime feeds a model at once"
        raise BundleError(f"spec.json: {batch} pictures of {height}x{width} take {size / 1e9:.3g} GB, more than {most}")
