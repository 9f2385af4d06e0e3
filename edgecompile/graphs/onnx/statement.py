"""What a person states of a foreign model that its file cannot show: how it wants its pictures, how it puts out boxes.

What is left out is None: the family's, else the usual.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgecompile.graphs.onnx.layouts import AUTO, layout_names
from edgecompile.graphs.onnx.stated import StatedInput, StatedOutputs
from edgecompile.runtime.spec_document import LetterboxDocument

LAYOUTS = (AUTO, *layout_names())

Each = float | tuple[float, ...]
"""One number for all channels, or one for each."""

Positive = Annotated[float, Field(gt=0)]
Sides = Annotated[tuple[Positive, ...], Field(min_length=2, max_length=32)]
"""Width and height of one anchor after the other, pixels."""


class Statement(BaseModel):
    """Base of the parts of a statement."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def stated(self) -> Any:
        """Returns what is stated, as plain JSON."""
        return self.model_dump(mode="json", exclude_none=True)


class InputStatement(Statement):
    """How the model wants its pictures. A pixel v, 0..255, of channel c becomes (v * scale - mean[c]) / std[c].

    Fields:
        color: order of its channels; what the model takes. RGB where there are three, GRAY where there is one, BGRA (as
            OpenCV reads them) where there are four.
        scale: 1/255 where left out.
        mean: in the order of `color`; 0 where left out.
        std: likewise; 1 where left out.
        layout: where the axis of the channels stands; as the shape shows where left out.
        dtype: type of the input; the file says it, so that another is an error.
        resize: "letterbox" keeps the sides in proportion and fills the rest, "stretch" does not keep them, "crop" cuts
            off what is too long.
        fill: value of the border, 0..255; 114 where left out.
        align: where the picture stands in its border, or is cut; in the middle where left out.
        interpolation: how pictures are scaled; linear where left out.
        shortest: pixels that the shortest side is scaled to before "crop".
        scale_up: whether smaller pictures are enlarged; they are where left out.
    """

    color: Literal["RGB", "BGR", "GRAY", "BGRA", "RGBA"] | None = None
    scale: Annotated[float, Field(gt=0)] | None = None
    mean: Each | None = None
    std: Each | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    dtype: Literal["float32", "float16", "uint8"] | None = None
    resize: Literal["letterbox", "stretch", "crop"] | None = None
    fill: Annotated[int, Field(ge=0, le=255)] | None = None
    align: Literal["center", "top_left"] | None = None
    interpolation: Literal["linear", "nearest", "area", "cubic", "antialias", "antialias_cubic"] | None = None
    shortest: Annotated[int, Field(ge=1, le=16384)] | None = None
    scale_up: bool | None = None

    def stated(self) -> StatedInput:
        return cast("StatedInput", super().stated())

    @model_validator(mode="after")
    def _has_divisors(self) -> InputStatement:
        if self.std is not None and 0 in numbers(self.std):
            raise ValueError("std divides, so it cannot be 0")
        return self


class OutputStatement(Statement):
    """How the model puts out what it finds.

    Fields:
        layout: file of `graphs/onnx/layouts/`; "auto" takes the layout that fits, where only one does.
        strides: of the feature maps, pixels, the finest first.
        offset: where in its cell the point of a prediction stands, in cells: 0 is the corner, 0.5 the middle.
        boxes: what the four numbers of a box are: corners x1 y1 x2 y2, y1 x1 y2 x2, or centre and size.
        unit: what they are counted in: pixels of the input, or fractions of it.
        activation: what is still to be applied to the scores of classes.
        background: which column of the scores is no class.
        anchors: of each feature map, the finest first: width and height in pixels of one anchor after the other.
        anchors_file: name of a file beside the model that holds the anchors of all cells, see
            `edgecompile.graphs.onnx.anchor_file`.
        variances: by which offsets, and logarithms of sizes, are multiplied.
    """

    layout: Literal[LAYOUTS] | None = None  # type: ignore[valid-type]
    strides: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1, max_length=8)] | None = (
        None
    )
    offset: Annotated[float, Field(ge=0, le=1)] | None = None
    boxes: Literal["corners", "corners_yx", "centres"] | None = None
    unit: Literal["pixels", "fractions"] | None = None
    activation: Literal["none", "sigmoid", "softmax"] | None = None
    background: Literal["none", "first", "last"] | None = None
    anchors: Annotated[tuple[Sides, ...], Field(min_length=1, max_length=8)] | None = None
    anchors_file: Annotated[str, Field(pattern=r"^[^/\\:]+\.(npy|txt|json)$", max_length=200)] | None = None
    variances: tuple[Positive, Positive] | None = None

    def stated(self) -> StatedOutputs:
        return cast("StatedOutputs", super().stated())

    @model_validator(mode="after")
    def _has_whole_anchors(self) -> OutputStatement:
        counts = {len(sides) for sides in self.anchors or ()}
        if len(counts) > 1 or any(count % 2 for count in counts):
            raise ValueError("anchors are pairs of width and height, of each feature map as many")
        return self


Part = TypeVar("Part", bound=Statement)


def over(given: Part, usual: StatedInput | StatedOutputs) -> Part:
    """Returns a statement with what is `usual` where nothing is stated."""
    return type(given).model_validate({**usual, **given.stated()})


def numbers(value: Each) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def frame_of(statement: InputStatement) -> LetterboxDocument:
    """Returns the parts of `letterbox` of spec.json that a statement fixes."""
    frame: LetterboxDocument = {}
    if statement.resize is not None:
        frame["resize"] = statement.resize
    if statement.fill is not None:
        frame["fill"] = statement.fill
    if statement.align is not None:
        frame["center"] = statement.align == "center"
    if statement.interpolation is not None:
        frame["interpolation"] = statement.interpolation
    if statement.shortest is not None:
        frame["shortest"] = statement.shortest
    if statement.scale_up is not None:
        frame["scale_up"] = statement.scale_up
    return frame
