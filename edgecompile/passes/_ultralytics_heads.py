"""The heads of Ultralytics models: which one is exported, how it comes to put out plain tensors, and torch's tracer."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from edgecompile.errors import Problem, StepError
from edgecompile.evaluate.tasks import StatedFacts

if TYPE_CHECKING:
    import numpy as np
from edgecompile.runtime.spec_document import LetterboxDocument

RTDETR = "RTDETRDecoder"
"""Name of the class of RT-DETR's head."""
ONE_TO_ONE, ONE_TO_MANY = "one2one_cv2", "cv2"
"""Names of the layers in a head by which its NMS-free part and the other part put out boxes."""


def heads_in(layer: str, parts: Collection[str]) -> tuple[bool, bool]:
    """Returns whether a checkpoint has an NMS-free head (one to one), and whether it has the other (one to many).

    A head that finds no boxes counts as the latter; RT-DETR's decoder, which matches each object with one query, as the
    former.

    Args:
        layer: name of the class of the model's last layer.
        parts: names of the layers in it.
    """
    if layer == RTDETR:
        return True, False
    return ONE_TO_ONE in parts, ONE_TO_MANY in parts or ONE_TO_ONE not in parts


def heads_of(model: Any) -> tuple[bool, bool]:
    """Returns what `heads_in` says of a loaded model."""
    head = model.model[-1]
    parts = [part for part in (ONE_TO_ONE, ONE_TO_MANY) if getattr(head, part, None) is not None]
    return heads_in(type(head).__name__, parts)


def missing_head(heads: tuple[bool, bool], end2end: bool | str, name: str) -> Problem | None:
    """Returns what is wrong where a checkpoint lacks the head that is asked for."""
    has_one_to_one, has_one_to_many = heads
    if end2end is True and not has_one_to_one:
        return Problem(f"'{name}' has no NMS-free head", fix="set end2end to auto or false")
    if end2end is False and not has_one_to_many:
        return Problem(f"'{name}' has only the NMS-free head left", fix="set end2end to auto or true")
    return None


def select_head(model: Any, end2end: bool | str, name: str) -> bool:
    """Chooses the head to export, fuses batch normalisation into the convolutions, and returns whether it is NMS-free.

    Raises:
        StepError: when the checkpoint lacks the head asked for.
    """
    has_one_to_one, has_one_to_many = heads = heads_of(model)
    if missing := missing_head(heads, end2end, name):
        raise StepError(missing)
    nms_free = not has_one_to_many if end2end == "auto" else bool(end2end)
    if has_one_to_one and has_one_to_many:
        model.model[-1].end2end = nms_free
    model.fuse(verbose=False)
    return nms_free


def stated_by(model: Any) -> StatedFacts:
    """Returns what the head says of its outputs beside its classes; see `edgecompile.evaluate.tasks.Task.describe`."""
    shape = getattr(model.model[-1], "kpt_shape", None)
    return {} if shape is None else {"kpt_shape": [int(value) for value in shape]}


def frame_of(model: Any) -> LetterboxDocument:
    """Returns how Ultralytics brings pictures to the model's size, as far as otherwise than by letterboxing: RT-DETR
    sees pictures stretched (`RTDETRPredictor.pre_transform`, `RTDETRValidator.build_dataset`)."""
    return {"resize": "stretch"} if type(model.model[-1]).__name__ == RTDETR else {}


def prepare_for_tracing(model: Any, *, dynamic: bool, smallest: Sequence[int]) -> None:
    """Sets the flags by which the head puts out decoded tensors, and writes splits as `Split`, not as slices.

    Args:
        dynamic: whether height or width of the input change.
        smallest: height and width of the smallest input, pixels: an NMS-free head puts out no more rows than it has
            anchors.
    """
    from ultralytics.nn.modules import C2f, Classify, Detect, RTDETRDecoder

    anchors = sum((smallest[0] // int(stride)) * (smallest[1] // int(stride)) for stride in model.stride)
    for parameter in model.parameters():
        parameter.requires_grad = False
    for module in model.modules():
        if isinstance(module, Detect):
            module.export, module.format, module.dynamic, module.shape = True, "onnx", dynamic, None
            module.max_det = min(300, anchors)
        elif isinstance(module, RTDETRDecoder):
            module.export, module.dynamic = True, dynamic
        elif isinstance(module, Classify):
            module.export = True
        elif isinstance(module, C2f):
            module.forward = module.forward_split


def with_corners(model: Any) -> Any:
    """Returns a model that puts out rows of corners in pixels of the input, score and class number.

    RT-DETR's rows hold centre and size as shares of the input's sides; other models are returned as they are.
    """
    if type(model.model[-1]).__name__ != RTDETR:
        return model
    import torch

    class WithCorners(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, pictures: Any) -> Any:
            centres, sizes, rest = self.inner(pictures).split((2, 2, 2), dim=-1)
            height, width = pictures.shape[2:]
            sides = torch.as_tensor([width, height], dtype=centres.dtype)
            half = sizes / 2
            return torch.cat(((centres - half) * sides, (centres + half) * sides, rest), dim=-1)

    return WithCorners().eval()


def outputs_of(model: Any, picture: np.ndarray) -> list[np.ndarray]:
    """Returns what a model puts out on pictures (n, channels, h, w), in its order."""
    import torch

    with torch.inference_mode():
        found = model(torch.from_numpy(picture))
    return [output.numpy() for output in (found if isinstance(found, tuple | list) else (found,))]


def varying(outputs: Sequence[Sequence[np.ndarray]], batch: int) -> list[tuple[int, ...]]:
    """Returns the shape of each output, -1 on the axes that change with the shape of the input.

    Args:
        outputs: of the model, for each shape of its input.
        batch: pictures of one run; -1 where that may change.
    """
    shapes = []
    for output in zip(*outputs, strict=True):
        axes = zip(*(array.shape for array in output), strict=True)
        sides = [sizes[0] if len(set(sizes)) == 1 else -1 for sizes in axes]
        shapes.append((batch, *sides[1:]))
    return shapes


def trace(
    model: Any, example: np.ndarray, opset: int, shape: Sequence[int], outputs: Mapping[str, Sequence[int]]
) -> Any:
    """Returns the ONNX graph that torch records while the model runs on `example`.

    torch's TorchScript exporter is used, as Ultralytics does: dynamo writes absolute paths of the installation into
    every node of its graphs.

    Args:
        shape: of the input, -1 on the axes that change.
        outputs: name of each output to its shape, likewise.
    """
    import onnx
    import torch

    names = {"images": {2: "height", 3: "width"}, "output0": {1: "rows", 2: "anchors"}}
    dynamic: dict[str, dict[int, str]] = {}
    for tensor, sides in {"images": shape, **outputs}.items():
        known = {0: "batch", **names.get(tensor, {2: f"{tensor}_height", 3: f"{tensor}_width"})}
        if axes := {axis: known[axis] for axis, side in enumerate(sides) if side == -1}:
            dynamic[tensor] = axes
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracer warnings on python branches that are constant for one input size
        torch.onnx.export(
            model,
            (torch.from_numpy(example),),
            buffer,
            opset_version=opset,
            input_names=["images"],
            output_names=list(outputs),
            dynamic_axes=dynamic or None,
            dynamo=False,
        )
    return onnx.load_model_from_string(buffer.getvalue())
