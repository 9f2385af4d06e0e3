"""Exports an Ultralytics detection checkpoint to ONNX. The one file of the project that imports ultralytics.

The checkpoint is loaded through torch's restricted unpickler, exported with torch's own tracer, freed of everything
that is not the graph, and proven against torch on a fixed input before it counts as exported.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

from pydantic import Field

from edgecompile.errors import MissingToolError, Problem, StepError
from edgecompile.evaluate.tasks import chosen_task, unfit
from edgecompile.library_errors import explained
from edgecompile.passes import Pass
from edgecompile.plan.graph import Graph, Model, Request
from edgecompile.plan.shapes import Profile, distinct, merged, one_shape, shown
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.weights.checkpoint import Checkpoint, read_checkpoint
from edgecompile.weights.guard import may_be_called, nothing_constructed

DETECTION_HEADS = ("Detect", "v10Detect")
"""Names of the heads that put out what the runtime decodes: YOLOv5u, v6, v8, v9, 11, 12, 26 and v10."""

CHECKPOINT_BEGINS = (b"PK", b"\x80")
"""How a zip begins, and a pickle, which checkpoints were before torch 1.6."""

OLD_YOLOV5 = "comes from the old yolov5 repository; ultralytics reads YOLOv5u checkpoints only"

WOULD_CALL = "would call '{}' when loaded; refusing to load it"

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
        return [Problem(doubt) for doubt in doubts(checkpoint, weights.name, recipe.model.task)]

    def lower(self, graph: Graph, model: Model | None) -> Model:
        height, width = graph.imgsz
        profile = graph.profile()
        graph.add(
            Step(
                name="onnx_export",
                version=2,
                function="edgecompile.passes.onnx_export:export",
                stage=Stage.EXPORT,
                params={"imgsz": [height, width], "profile": profile, "task": graph.task, **self.model_dump()},
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
    elif checkpoint.head not in (*DETECTION_HEADS, None):
        heads = ", ".join(DETECTION_HEADS)
        yield f"'{name}' has the head '{checkpoint.head[:60]}'; the heads that can be compiled: {heads}"
    if checkpoint.channels not in (3, None):
        yield f"'{name}' takes pictures of {checkpoint.channels} channels; only 3 can be compiled"


def export(
    out: Path,
    *,
    weights: Path,
    imgsz: list[int],
    opset: int,
    end2end: bool | str,
    task: str,
    profile: Profile | None = None,
) -> dict[str, Any]:
    """Writes `model.onnx` and `spec.json` of the checkpoint `weights`, proven equal to torch on a fixed input of each
    shape that the model takes.

    Args:
        imgsz: height and width, pixels; also those of the usual shape of the profile.
        task: that the model is compiled for.
        profile: shapes that the model takes; one picture of `imgsz` where None.

    Raises:
        StepError: when the file is no checkpoint, would run code when loaded, or holds something other than a
            detection model; when the exported graph disagrees with torch.
        MissingToolError: when torch is too old to load checkpoints safely.
    """
    with explained(f"'{weights.name}'"):
        return _export(out, weights, imgsz, opset, end2end, task, profile)


def _export(
    out: Path,
    weights: Path,
    imgsz: list[int],
    opset: int,
    end2end: bool | str,
    task: str,
    profile: Profile | None,
) -> dict[str, Any]:
    import onnx
    import torch

    from edgecompile.evaluate.tasks import OutputFacts
    from edgecompile.graphs.onnx.agreement import fixed_input, largest, require_agreement, run
    from edgecompile.graphs.onnx.model_spec import spec_of, write_spec
    from edgecompile.graphs.onnx.serialization import operator_counts, save

    model = load_checkpoint(weights, task)
    both = all(heads_of(model))
    nms_free = select_head(model, end2end, weights.name)
    stride = int(max(model.stride))
    shapes = profile or one_shape(imgsz)
    for size in (shape[2:] for shape in shapes.values()):
        if any(side % stride for side in size):
            raise StepError(f"picture size {size} is not a multiple of the model's stride {stride}")
    shape = merged(shapes)
    smallest = shapes["min"][2:]
    prepare_for_tracing(
        model,
        dynamic=-1 in shape[2:],
        anchors=sum((smallest[0] // int(s)) * (smallest[1] // int(s)) for s in model.stride),
    )

    decode = "end2end" if nms_free else "yolo"
    example = torch.from_numpy(fixed_input(shapes["opt"], imgsz))
    with torch.inference_mode():
        model(example)  # builds the anchors for this size before tracing
        expected = model(example).numpy()
    exported = trace(model, example, opset, shape, nms_free)

    output_shape = [shape[0], *expected.shape[1:]]
    if -1 in shape[2:] and not nms_free:
        output_shape[2] = -1
    spec = spec_of(
        task=task,
        names=[str(model.names[index]) for index in sorted(model.names)],
        stride=stride,
        size=imgsz,
        input_name="images",
        input_shape=shape,
        outputs=[OutputFacts("output0", tuple(output_shape))],
        decode=decode,
        profile=profile,
    )
    graph = exported.SerializeToString()
    proof: dict[str, float] = {}
    for input_shape in distinct(shapes):
        picture = fixed_input(input_shape, input_shape[2:])
        with torch.inference_mode():
            reference = model(torch.from_numpy(picture)).numpy()
        proof = largest(proof, require_agreement([reference], run(graph, picture), spec, input_shape[2:], "the export"))

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


def load_checkpoint(weights: Path, task: str = "detect") -> Any:
    """Returns the fused float model of a checkpoint, without running code that the file may carry.

    Raises:
        StepError: when the file is missing, damaged, unsafe or no Ultralytics detection checkpoint.
        MissingToolError: when torch is too old to load it safely.
    """
    import torch

    if not weights.is_file():
        raise StepError(f"checkpoint '{weights.name}' does not exist")
    if weights.suffix != ".pt":
        raise StepError(f"'{weights.name}' is no .pt checkpoint", fix="import ONNX files with the pass 'onnx_import'")
    if tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2]) < (2, 10):
        raise MissingToolError(
            f"torch {torch.__version__} cannot load checkpoints safely", fix="pip install 'torch>=2.10'"
        )
    tasks = _import_safely()
    with TemporaryDirectory() as folder:
        # ultralytics looks at the name: it takes 'yolov5n.pt' for 'yolov5nu.pt' and downloads that, offline or not
        neutral = Path(shutil.copyfile(weights, Path(folder) / "checkpoint.pt"))

        def refuse(kind: type) -> StepError:
            return StepError(f"'{weights.name}' {WOULD_CALL.format(f'{kind.__module__}.{kind.__name__}')}")

        try:
            with nothing_constructed(torch.nn.Module, refuse):
                model, _ = tasks.load_checkpoint(str(neutral))
        except (TypeError, RuntimeError, ModuleNotFoundError, AttributeError, KeyError, EOFError, ValueError) as error:
            raise StepError(_reason(weights.name, error)) from error
    if not isinstance(model, tasks.BaseModel):
        raise StepError(f"'{weights.name}' holds a '{type(model).__name__}', not an Ultralytics model")
    if unfit_task := unfit(str(getattr(model, "task", None)), task, weights.name):
        raise StepError(unfit_task)
    head = type(model.model[-1]).__name__
    if head not in DETECTION_HEADS:
        raise StepError(
            f"'{weights.name}' has the head '{head}'; the heads that can be compiled: {', '.join(DETECTION_HEADS)}"
        )
    if (channels := model.yaml.get("channels", 3)) != 3:
        raise StepError(f"'{weights.name}' takes pictures of {channels} channels; only 3 can be compiled")
    return model.float().eval()


def _import_safely() -> Any:
    """Imports `ultralytics.nn.tasks` so that it neither unpickles code nor installs or downloads anything.

    The flags are read once, at import: a process that imported ultralytics without them is refused.
    """
    os.environ.update(ULTRALYTICS_SAFE_LOAD="1", YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")
    try:
        from ultralytics.nn import tasks
        from ultralytics.utils import SAFE_LOAD
    except ImportError as error:
        fix = "pip install 'edgecompile[ultralytics]'"
        raise MissingToolError(f"exporting a checkpoint needs ultralytics ({error})", fix=fix) from error
    if not SAFE_LOAD:
        raise StepError(
            "ultralytics was imported in this process without ULTRALYTICS_SAFE_LOAD=1; refusing to unpickle"
        )
    tasks.restore_qat = _refuse_quantized
    return tasks


def _refuse_quantized(*_: Any) -> None:
    """Stands in for what hands a part of the checkpoint to modelopt, whose own loading nobody restricts."""
    raise StepError("the checkpoint is a model that modelopt quantized", fix="compile the float model it was made from")


def _reason(name: str, error: Exception) -> str:
    """Returns one line on why the checkpoint `name` did not load."""
    chain = f"{error} {error.__cause__ or ''}"
    if isinstance(error, ModuleNotFoundError):
        refused = str(error.name)
    else:
        match = re.search(r"GLOBAL `?([\w.]+)", chain)
        refused = match.group(1) if match else ""
    if "old YOLOv5" in chain or "ultralytics/yolov5" in chain:
        return f"'{name}' {OLD_YOLOV5}"
    if "TorchScript" in chain:
        return f"'{name}' is a TorchScript archive, not a checkpoint"
    if refused:
        return f"'{name}' refers to '{refused}', which is no part of a detection model; refusing to load it"
    if "blocked during restricted" in chain:
        return f"'{name}' would run code when loaded; refusing to load it"
    return f"'{name}' is damaged or is no Ultralytics checkpoint"


def heads_of(model: Any) -> tuple[bool, bool]:
    """Returns whether a checkpoint has an NMS-free head (one to one), and whether it has the other (one to many)."""
    head = model.model[-1]
    return getattr(head, "one2one_cv2", None) is not None, getattr(head, "cv2", None) is not None


def select_head(model: Any, end2end: bool | str, name: str) -> bool:
    """Chooses the head to export, fuses batch normalisation into the convolutions, and returns whether it is NMS-free.

    Raises:
        StepError: when the checkpoint lacks the head asked for.
    """
    has_one_to_one, has_one_to_many = heads_of(model)
    if end2end is True and not has_one_to_one:
        raise StepError(f"'{name}' has no NMS-free head", fix="set end2end to auto or false")
    if end2end is False and not has_one_to_many:
        raise StepError(f"'{name}' has only the NMS-free head left", fix="set end2end to auto or true")
    nms_free = not has_one_to_many if end2end == "auto" else bool(end2end)
    if has_one_to_one:
        model.model[-1].end2end = nms_free
    model.fuse(verbose=False)
    return nms_free


def prepare_for_tracing(model: Any, *, dynamic: bool, anchors: int) -> None:
    """Sets the flags by which the head puts out one decoded tensor, and writes splits as `Split`, not as slices."""
    from ultralytics.nn.modules import C2f, Detect

    for parameter in model.parameters():
        parameter.requires_grad = False
    for module in model.modules():
        if isinstance(module, Detect):
            module.export, module.format, module.dynamic, module.shape = True, "onnx", dynamic, None
            module.max_det = min(300, anchors)
        elif isinstance(module, C2f):
            module.forward = module.forward_split


def trace(model: Any, example: Any, opset: int, shape: list[int], nms_free: bool) -> Any:
    """Returns the ONNX graph that torch records while the model runs on `example`.

    torch's TorchScript exporter is used, as Ultralytics does: dynamo writes absolute paths of the installation into
    every node of its graphs.
    """
    import onnx
    import torch

    axes = {0: "batch"} if shape[0] == -1 else {}
    names = {2: "height", 3: "width"}
    changing = {axis: name for axis, name in names.items() if shape[axis] == -1}
    anchors = {2: "anchors"} if changing and not nms_free else {}
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracer warnings on python branches that are constant for one input size
        torch.onnx.export(
            model,
            (example,),
            buffer,
            opset_version=opset,
            input_names=["images"],
            output_names=["output0"],
            dynamic_axes={"images": {**axes, **changing}, "output0": {**axes, **anchors}} if axes or changing else None,
            dynamo=False,
        )
    return onnx.load_model_from_string(buffer.getvalue())
