"""Exports an Ultralytics checkpoint of any task to ONNX.

The checkpoint is loaded through torch's restricted unpickler, exported with torch's own tracer, freed of everything
that is not the graph, and proven against torch on a fixed input before it counts as exported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from edgecompile.errors import Problem, StepError
from edgecompile.evaluate.tasks import chosen_task, unfit
from edgecompile.library_errors import explained
from edgecompile.passes import Pass
from edgecompile.passes._activation_swap import apply_refit
from edgecompile.passes._ultralytics_checkpoint import (
    OLD_YOLOV5,
    WOULD_CALL,
    channels_of,
    foreign_channels,
    foreign_head,
    load_checkpoint,
)
from edgecompile.passes._ultralytics_heads import (
    frame_of,
    heads_in,
    heads_of,
    missing_head,
    outputs_of,
    prepare_for_tracing,
    select_head,
    stated_by,
    trace,
    varying,
    with_corners,
)
from edgecompile.plan.graph import Graph, Model, Request
from edgecompile.plan.shapes import Profile, distinct, merged, one_shape, shown, with_channels
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.weights.checkpoint import Checkpoint, read_checkpoint
from edgecompile.weights.guard import may_be_called
from edgecompile.weights.stated_task import stated_names

CHECKPOINT_BEGINS = (b"PK", b"\x80")
"""How a zip begins, and a pickle, which checkpoints were before torch 1.6."""

BOTH_HEADS = (
    "of two heads the one with non-maximum suppression, as Ultralytics by default; the NMS-free one: "
    "passes.onnx_export.end2end=true"
)


class OnnxExport(Pass):
    """Exports the checkpoint of the recipe.

    Fields:
        opset: ONNX operator set. 18 is read by ONNX Runtime >= 1.19, OpenVINO >= 2022.3 and TensorRT >= 10.3.
        end2end: whether to export the NMS-free head that YOLOv10 and YOLO26 have beside the other. "auto" takes
            the head that Ultralytics validates and exports by default: that which needs non-maximum suppression, unless
            it was removed. It is the more accurate of the two; "true" spares the device the suppression.
    """

    stage: ClassVar[Stage] = Stage.EXPORT
    output_precision: ClassVar[str] = "fp32"
    is_source: ClassVar[bool] = True

    opset: int = Field(default=18, ge=13, le=20)
    end2end: bool | Literal["auto"] = "auto"

    def check_weights(self, weights: Path, recipe: Request) -> list[Problem]:
        if weights.suffix == ".onnx":
            return [Problem(f"'{weights.name}' is an ONNX file", fix="take the pass onnx_import, not onnx_export")]
        with weights.open("rb") as stream:
            if not stream.read(4).startswith(CHECKPOINT_BEGINS):
                return [Problem(f"'{weights.name}' is damaged or is no Ultralytics checkpoint")]
        checkpoint = read_checkpoint(weights)
        if checkpoint is None:
            return []
        problems = [Problem(doubt) for doubt in doubts(checkpoint, weights.name, recipe.model.task)]
        if problems or checkpoint.head is None:
            return problems
        missing = missing_head(heads_in(checkpoint.head, checkpoint.head_parts), self.end2end, weights.name)
        return [missing] if missing else []

    def known_classes(self, weights: Path) -> Sequence[str] | None:
        return stated_names(weights)

    def lower(self, graph: Graph, model: Model | None) -> Model:
        height, width = graph.imgsz
        profile = graph.profile()
        graph.add(
            Step(
                name="onnx_export",
                version=2,
                function="edgecompile.passes.onnx_export:export",
                stage=Stage.EXPORT,
                params={
                    "imgsz": [height, width],
                    "profile": profile,
                    "task": graph.task,
                    **graph.categories,
                    **self.model_dump(),
                },
                inputs={"weights": graph.materials.weights},
                tools=("torch", "ultralytics", "onnx", "onnxruntime", "numpy"),
                isa=True,
                memory_mb=1500,
                about=f"torch to ONNX, opset {self.opset}, {shown(profile) or f'{height}x{width}'}",
            )
        )
        return Model(Output("onnx_export", "model.onnx"), Output("onnx_export", "spec.json"))


def doubts(checkpoint: Checkpoint, name: str, asked: str | None) -> Iterator[str]:
    """Yields why a checkpoint cannot be compiled, by what it says of itself.

    Args:
        asked: the task that the recipe names, if it does.
    """
    package = checkpoint.model_class.partition(".")[0]
    called = sorted(call for call in checkpoint.calls if not may_be_called(call))
    if package == "models":
        yield f"'{name}' {OLD_YOLOV5}"
    elif called:
        yield f"'{name}' {WOULD_CALL.format(called[0][:80])}"
    elif package != "ultralytics":
        yield f"'{name}' holds a '{checkpoint.model_class[:80]}', not an Ultralytics model"
    elif unfit_task := unfit(checkpoint.task, chosen_task(asked, checkpoint.task), name):
        yield unfit_task
    elif checkpoint.head is not None and (reason := foreign_head(checkpoint.head, chosen_task(asked, checkpoint.task))):
        yield f"'{name}' {reason}"
    if checkpoint.channels is not None and (reason := foreign_channels(checkpoint.channels)):
        yield f"'{name}' {reason}"


def export(
    out: Path,
    *,
    weights: Path,
    imgsz: list[int],
    opset: int,
    end2end: bool | str,
    task: str,
    profile: Profile | None = None,
    categories: Sequence[int | None] = (),
    refit: Path | None = None,
) -> dict[str, Any]:
    """Writes `model.onnx` and `spec.json` of the checkpoint `weights`, proven equal to torch on a fixed input of each
    shape that the model takes.

    Args:
        imgsz: height and width, pixels; also those of the usual shape of the profile.
        task: that the model is compiled for.
        profile: shapes that the model takes; one picture of `imgsz` where None.
        categories: see `model_spec.spec_of`.
        refit: folder of other activations and weights, as the pass `swap_activation` found them.

    Raises:
        StepError: when the file is no checkpoint, would run code when loaded, or holds something other than a
            detection model; when the exported graph disagrees with torch.
        MissingToolError: when torch is too old to load checkpoints safely.
    """
    with explained(f"'{weights.name}'"):
        return _export(out, weights, imgsz, opset, end2end, task, profile, categories, refit)


def _export(
    out: Path,
    weights: Path,
    imgsz: list[int],
    opset: int,
    end2end: bool | str,
    task: str,
    profile: Profile | None,
    categories: Sequence[int | None],
    refit: Path | None,
) -> dict[str, Any]:
    import onnx

    from edgecompile.evaluate.tasks import OutputFacts, find_task
    from edgecompile.graphs.onnx.agreement import fixed_input, largest, require_agreement, run
    from edgecompile.graphs.onnx.model_spec import spec_of, write_spec
    from edgecompile.graphs.onnx.serialization import operator_counts, save

    model = load_checkpoint(weights, task)
    both = all(heads_of(model))
    nms_free = select_head(model, end2end, weights.name)
    if refit is not None:
        apply_refit(model, refit)
    stride = int(max(model.stride))
    shapes = with_channels(profile or one_shape(imgsz), channels_of(model))
    for size in (shape[2:] for shape in shapes.values()):
        if any(side % stride for side in size):
            raise StepError(f"picture size {size} is not a multiple of the model's stride {stride}")
    shape = merged(shapes)
    prepare_for_tracing(model, dynamic=-1 in shape[2:], smallest=shapes["min"][2:])
    traced = with_corners(model)

    pictures = [fixed_input(input_shape, input_shape[2:]) for input_shape in distinct(shapes)]
    references = [outputs_of(traced, picture) for picture in pictures]
    outputs = {f"output{number}": sides for number, sides in enumerate(varying(references, shape[0]))}
    example = fixed_input(shapes["opt"], imgsz)
    outputs_of(traced, example)  # builds the anchors for this size before tracing
    exported = trace(traced, example, opset, shape, outputs)
    spec = spec_of(
        task=task,
        names=[str(model.names[index]) for index in sorted(model.names)],
        stride=stride,
        size=imgsz,
        input_name="images",
        input_shape=shape,
        outputs=[OutputFacts(name, sides) for name, sides in outputs.items()],
        decode="end2end" if nms_free else find_task(task).plain_decode,
        profile=profile and shapes,
        stated=stated_by(model),
        frame=frame_of(model),
        categories=categories,
    )
    graph = exported.SerializeToString()
    proof: dict[str, float] = {}
    for picture, reference in zip(pictures, references, strict=True):
        agreed = require_agreement(reference, run(graph, picture), spec, picture.shape[2:], "the export")
        proof = largest(proof, agreed)

    save(exported, out / "model.onnx")
    write_spec(spec, out / "spec.json")
    onnx.checker.check_model(str(out / "model.onnx"), full_check=True)
    return {
        **({"notes": BOTH_HEADS} if both and end2end == "auto" else {}),
        "head": type(model.model[-1]).__name__,
        "end2end": nms_free,
        "classes": len(spec["names"]),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "operators": operator_counts(exported),
        "max_abs_diff_to_torch": proof,
    }
