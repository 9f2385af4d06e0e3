"""`spec.json`: the pre- and post-processing of a model as data, which the runtime follows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from edgecompile.evaluate.tasks import OutputFacts, StatedFacts, find_task
from edgecompile.plan.shapes import POINTS, distinct
from edgecompile.runtime.spec_document import InputDocument, LetterboxDocument, SpecDocument

SCHEMA = 1
COLORS = {1: "GRAY", 3: "RGB", 4: "BGRA"}
"""Number of channels to their order in what an exported model takes."""
EMBEDDED_COLORS = {"RGB": "BGR"}
"""Order of channels to that of a model whose preprocessing is built in, where that is another."""


def spec_of(
    *,
    task: str,
    names: Sequence[str],
    stride: int,
    size: Sequence[int],
    input_name: str,
    input_shape: Sequence[int],
    outputs: Sequence[OutputFacts],
    decode: str,
    profile: Mapping[str, Sequence[int]] | None = None,
    stated: StatedFacts | None = None,
    frame: LetterboxDocument | None = None,
    categories: Sequence[int | None] = (),
) -> SpecDocument:
    """Returns the spec of a model that takes float32 pictures of shape (n, channels, h, w), scaled to 0..1: RGB, grey
    where there is one channel, blue green red alpha where there are four.

    Args:
        task: file of `edgecompile/evaluate/tasks/`.
        names: class names, in the order of their numbers.
        stride: the coarsest stride of the model's feature maps, in pixels.
        size: height and width that pictures are letterboxed to, in pixels.
        input_shape: shape of the input; -1 where it is dynamic.
        outputs: names and shapes of the outputs, in their order.
        decode: how the head puts out what it finds, in the words of the task's `describe`.
        frame: how pictures are brought to `size`, as far as otherwise than for Ultralytics' models of the task.
        profile: smallest, usual and largest shape of the input ("min", "opt", "max"). It stands in the spec where these
            differ: `input.profile`, in the layout of the input, as `input.shape` is.
        stated: by the weights, for the task's `describe`.
        categories: ids of the data set for its classes, by number, see `edgecompile.data.label_reading`; as many or as
            few as it has.
    """
    channels = int(input_shape[1])
    points = {point: list(map(int, profile[point])) for point in POINTS} if profile else {}
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "task": task,
        "names": list(names),
        "stride": int(stride),
        "input": {
            "name": input_name,
            "shape": [int(value) for value in input_shape],
            "dtype": "float32",
            "layout": "NCHW",
            "color": COLORS[channels],
            "scale": 1 / 255,
            "mean": [0] * channels,
            "std": [1] * channels,
            **({"profile": points} if points and points["min"] != points["max"] else {}),
        },
        "letterbox": {
            "size": [int(value) for value in size],
            "fill": 114,
            "center": True,
            "scale_up": True,
            "interpolation": "linear",
        },
        **find_task(task).describe(outputs, decode, {"imgsz": list(size), **(stated or {})}),
    }
    document["letterbox"] = {**document["letterbox"], **(frame or {})}
    if categories:
        document["categories"] = [*categories, *[None] * len(names)][: len(names)]
    return cast("SpecDocument", document)


def with_outputs(spec: SpecDocument, shapes: Sequence[Sequence[int]], names: Sequence[str] = ()) -> SpecDocument:
    """Returns the spec of a compiled artifact, whose outputs have other shapes or names.

    Args:
        spec: of the model before.
        shapes: of the artifact's outputs, in their order.
        names: of them, where they changed.
    """
    return cast("SpecDocument", {**spec, **find_task(spec["task"]).renamed(spec, shapes, names)})


def simpler_head(spec: SpecDocument) -> str:
    """Returns the change of a recipe that exports a head of plainer operations, where the model may have one; else
    ""."""
    output = cast("Mapping[str, Mapping[str, str]]", spec).get("output", {})
    nms_free = output.get("decode") == "end2end"
    return "passes.onnx_export.end2end=false" if nms_free else ""


def embed_preprocessing(spec: SpecDocument) -> SpecDocument:
    """Returns the spec of the same model with colour order, scaling and layout built into it.

    Such a model takes what a camera or `cv2.imread` gives: uint8 pictures of shape (n, h, w, 3), BGR, 0..255; grey and
    four channels likewise.
    """
    embedded: InputDocument = {
        "shape": _interleaved(spec["input"]["shape"]),
        "dtype": "uint8",
        "layout": "NHWC",
        "color": EMBEDDED_COLORS.get(spec["input"]["color"], spec["input"]["color"]),
        "scale": 1,
    }
    if "profile" in spec["input"]:
        embedded["profile"] = {point: _interleaved(shape) for point, shape in spec["input"]["profile"].items()}
    return {**spec, "input": {**spec["input"], **embedded}}


def _interleaved(shape: Sequence[int]) -> list[int]:
    count, channels, height, width = shape
    return [count, height, width, channels]


def shapes_of(spec: SpecDocument) -> list[list[int]]:
    """Returns the input shapes at which a model must compute as before it was rewritten: those of its profile, or its
    only shape; one picture of its size where it says no more. For specs whose layout is NCHW."""
    if "profile" in spec["input"]:
        return distinct(spec["input"]["profile"])
    count, channels = spec["input"]["shape"][:2]
    return [[max(count, 1), channels, *spec["letterbox"]["size"]]]


def write_spec(spec: SpecDocument, path: Path) -> None:
    """Writes a spec as JSON of sorted keys."""
    path.write_text(json.dumps(spec, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_spec(path: Path) -> SpecDocument:
    """Reads a spec that `write_spec` wrote."""
    document: SpecDocument = json.loads(path.read_text(encoding="utf-8"))
    return document
