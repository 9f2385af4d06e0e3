"""spec.json as it stands in a bundle."""

from __future__ import annotations

from typing import TypedDict


class InputDocument(TypedDict, total=False):
    """`input` of spec.json; the meaning of each key stands at `edgecompile.runtime.spec.Input`."""

    name: str
    shape: list[int]
    profile: dict[str, list[int]]
    dtype: str
    layout: str
    color: str
    scale: float
    mean: list[float]
    std: list[float]


class LetterboxDocument(TypedDict, total=False):
    """`letterbox` of spec.json; the meaning of each key stands at `edgecompile.runtime.spec.Frame`."""

    size: list[int]
    fill: int
    center: bool
    scale_up: bool
    interpolation: str
    resize: str
    shortest: int


class SpecDocument(TypedDict, total=False):
    """spec.json as it stands in a bundle, but for the parts of its task, which that reads.

    categories: ids that COCO's JSON of the data set has for the classes, by number, null for those it does not have;
        absent where the numbers are the ids, or the data was none of COCO.
    parameters: further inputs of the model, of shape (1,), by name, with their types; absent where it takes none.
    """

    schema: int
    task: str
    names: list[str]
    categories: list[int | None]
    stride: int
    input: InputDocument
    parameters: dict[str, str]
    letterbox: LetterboxDocument
