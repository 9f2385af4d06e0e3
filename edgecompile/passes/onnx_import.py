"""Takes a detection model that is ONNX already: reads it safely, normalises it, finds out how to feed and read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from edgecompile.errors import Problem, StepError
from edgecompile.graphs.onnx.first_look import FLOAT_MODEL, problems_of
from edgecompile.graphs.onnx.layouts import AUTO, layout_names
from edgecompile.library_errors import EXPORT_AGAIN
from edgecompile.passes import Pass
from edgecompile.plan.graph import Graph, Model, Request
from edgecompile.plan.shapes import Profile, distinct, merged, one_shape, profile_of, sides
from edgecompile.plan.step import Output, Source, Stage, Step

if TYPE_CHECKING:
    from edgecompile.graphs.onnx.layouts import Observed, Reading

DECODES = (AUTO, *layout_names())

PICTURES = 4
"""Pictures on which the output must agree with how it is read."""


class OnnxImport(Pass):
    """Imports the ONNX file of the recipe.

    What Ultralytics wrote into the file (class names, stride, task) is believed. Where nothing is written, the class
    names come from the data set and the rest from these fields. How the output is read is never guessed from its shape
    alone: the output on pictures of the data set must agree.

    Fields:
        decode: layout of the output, a file of `graphs/onnx/layouts/`: "yolo" for (1, 4 + classes, anchors), "end2end"
            for (1, detections, 6), ...; "auto" takes the layout that fits, where only one does.
        stride: coarsest stride of the model's feature maps in pixels, or "auto": what the file says, else 32.
        class_names: "file" takes the class names that the file states, "data" always takes those of the data set.
    """

    stage: ClassVar[Stage] = Stage.EXPORT
    output_precision: ClassVar[str] = "fp32"
    is_source: ClassVar[bool] = True

    decode: Literal[DECODES] = AUTO  # type: ignore[valid-type]
    stride: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    class_names: Literal["file", "data"] = "file"

    def check_weights(self, weights: Path, recipe: Request) -> list[Problem]:
        if weights.suffix != ".onnx":
            return [Problem(f"'{weights.name}' is no ONNX file", fix="take the pass onnx_export for a checkpoint")]
        if recipe.model.imgsz is None:  # the file's own
            return problems_of(weights, None, self.class_names, recipe.model.task)
        usual = sides(recipe.model.imgsz)
        profile, _ = profile_of(recipe.model, recipe.target, usual)
        return problems_of(weights, profile or one_shape(usual), self.class_names, recipe.model.task)

    def lower(self, graph: Graph, model: Model | None) -> Model:
        height, width = graph.imgsz
        profile = graph.profile()
        names = list(graph.materials.names)
        pictures = graph.materials.validation.paths
        proof = Source("pictures", pictures[:: -(-len(pictures) // PICTURES)], many=True)
        graph.add(
            Step(
                name="onnx_import",
                version=3,
                function="edgecompile.passes.onnx_import:import_model",
                stage=Stage.EXPORT,
                params={
                    "imgsz": [height, width],
                    "profile": profile,
                    "names": names,
                    "task": graph.task,
                    **self.model_dump(),
                },
                inputs={"weights": graph.materials.weights, "pictures": proof},
                tools=("onnx", "onnxruntime", "numpy", "opencv-python-headless"),
                isa=True,
                memory_mb=1000,
                about="reads, checks and normalises the ONNX file",
            )
        )
        return Model(Output("onnx_import", "model.onnx"), Output("onnx_import", "spec.json"))


def import_model(
    out: Path,
    *,
    weights: Path | list[Path],
    pictures: list[Path],
    imgsz: list[int],
    names: list[str],
    decode: str,
    stride: int | str,
    class_names: str,
    task: str,
    profile: Profile | None = None,
) -> dict[str, Any]:
    """Writes `model.onnx`, in one file and without metadata, and `spec.json`.

    Args:
        pictures: of the data set, on which the output must agree with how it is read.
        imgsz: height and width, pixels; also those of the usual shape of the profile.
        names: class names of the data set.
        task: that the model is compiled for.
        profile: shapes that the model takes; one picture of `imgsz` where None. Axes that the file leaves open and the
            profile does not are fixed.

    Raises:
        StepError: when the file cannot be trusted or is no detection model for pictures of this size.
    """
    from edgecompile.evaluate.tasks import OutputFacts
    from edgecompile.graphs.onnx import metadata
    from edgecompile.graphs.onnx.constants import fold_weights
    from edgecompile.graphs.onnx.foreign import read_foreign
    from edgecompile.graphs.onnx.layouts import Expected, read_as
    from edgecompile.graphs.onnx.model_spec import spec_of, write_spec
    from edgecompile.graphs.onnx.picture_input import agreed, fix_axes, only_input
    from edgecompile.graphs.onnx.serialization import operator_counts, save
    from edgecompile.graphs.onnx.structure import Structure, name_nodes

    files = weights if isinstance(weights, list) else [weights]
    file = files[0].name
    model = read_foreign(files)
    if Structure(model).is_quantized():
        raise StepError(f"'{file}' is quantized already", fix=FLOAT_MODEL)
    notes = metadata.notes_of(model)
    metadata.require_task(notes, file, task)
    stated = metadata.class_names(notes, file) if class_names == "file" else None
    entry, opened = only_input(model)
    shapes = agreed(opened, profile or one_shape(imgsz))
    entry_name, shape = entry.name, merged(shapes)
    changes = fix_axes(entry, shape, opened)

    model, observed, raised = _observed(model, file, _pictures(pictures, entry_name, shapes, imgsz), shapes)
    reading = read_as(observed, Expected(None if stated is None else len(stated), len(names)), decode)
    output_shape, added = _rewrite(model, file, reading, shapes)
    if folded := fold_weights(model):
        changes.append(f"{folded} weights and biases that were computed of constants are constants now")
    name_nodes(model.graph.node)
    save(model, out / "model.onnx")
    classes = stated or [*names, *(f"class {number}" for number in range(len(names), reading.classes))]
    spec = spec_of(
        task=task,
        names=classes[: reading.classes],
        stride=metadata.coarsest_stride(notes, file) if stride == "auto" else int(stride),
        size=imgsz,
        input_name=entry_name,
        input_shape=shape,
        outputs=[OutputFacts(model.graph.output[0].name, tuple(output_shape))],
        decode=reading.layout.DECODE,
        profile=shapes,
    )
    write_spec(spec, out / "spec.json")
    return {
        "classes": reading.classes,
        "decode": reading.layout.DECODE,
        "layout": reading.name,
        "metadata": sorted(notes),
        "changes": [*changes, *raised, *added],
        "operators": operator_counts(model),
        **({} if stated else {"notes": [f"'{file}' states no class names: those of the data set are taken"]}),
    }


def _pictures(pictures: Sequence[Path], entry: str, shapes: Profile, imgsz: Sequence[int]) -> list[Any]:
    """Returns pictures of the data set as the model takes them."""
    from edgecompile.evaluate.tasks import OutputFacts
    from edgecompile.graphs.onnx.model_spec import spec_of
    from edgecompile.quantization.calibration_batches import input_reader

    spec = spec_of(  # of the input; how the output is read is what the pictures are for
        task="detect", names=["any"], stride=32, size=imgsz, input_name=entry, input_shape=merged(shapes),
        outputs=[OutputFacts("any", (-1, -1, 6))], decode="end2end", profile=shapes,
    )  # fmt: skip
    read = input_reader(spec)
    return [read(picture).copy() for picture in pictures]


def _observed(model: Any, file: str, pictures: Sequence[Any], shapes: Profile) -> tuple[Any, list[Observed], list[str]]:
    """Runs a model on pictures, and on one made up for each shape; raises it to an operator set that all passes know.

    Returns:
        the model, what it put out on everything, and what was changed.

    Raises:
        StepError: it cannot be run, or not within a time, or not raised without changing what it computes.
    """
    import numpy as np

    from edgecompile.graphs.onnx.agreement import fixed_input
    from edgecompile.graphs.onnx.bounded_run import bounded_run
    from edgecompile.graphs.onnx.layouts import Observed
    from edgecompile.graphs.onnx.operator_set import operator_set, raise_operator_set

    run = bounded_run(model.SerializeToString(), file)
    inputs = [*(fixed_input(input_shape, input_shape[2:]) for input_shape in distinct(shapes)), *pictures]
    observed = [Observed(run(picture), picture.shape[2:]) for picture in inputs]
    version = operator_set(model)
    model = raise_operator_set(model, file)
    if operator_set(model) == version:
        return model, observed, []
    rerun = bounded_run(model.SerializeToString(), file)
    for picture, original in zip(inputs, observed, strict=True):
        if not np.allclose(rerun(picture), original.output, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise StepError(f"raising '{file}' from operator set {version} changed what it computes", fix=EXPORT_AGAIN)
    return model, observed, [f"operator set raised from {version} to {operator_set(model)}"]


def _rewrite(model: Any, file: str, reading: Reading, shapes: Profile) -> tuple[list[int], list[str]]:
    """Adds the nodes of a layout, in place. Returns the shape of the first output, -1 where it changes, and what was
    added."""
    from edgecompile.graphs.onnx.agreement import fixed_input
    from edgecompile.graphs.onnx.bounded_run import bounded_run
    from edgecompile.graphs.onnx.layouts import rewrite

    def output_shape() -> list[int]:
        run = bounded_run(model.SerializeToString(), file)
        output_shapes = [run(fixed_input(input_shape, input_shape[2:])).shape for input_shape in distinct(shapes)]
        return [axis[0] if len(set(axis)) == 1 else -1 for axis in zip(*output_shapes, strict=True)]

    shape = output_shape()
    _state_output(model, shape)
    if not (count := rewrite(model, reading)):
        return shape, []
    shape = output_shape()
    _state_output(model, shape)
    return shape, [f"{count} operators bring the output from {reading.name} to {reading.layout.DECODE}"]


def _state_output(model: Any, shape: Sequence[int]) -> None:
    """States the shape of the first output, in place, and forgets those of tensors between, noted before axes were
    fixed."""
    del model.graph.value_info[:]
    kind = model.graph.output[0].type.tensor_type
    names = ("batch", "rows", "anchors")
    open_axes = [axis.dim_param for axis in kind.shape.dim] if len(kind.shape.dim) == len(shape) else names
    del kind.shape.dim[:]
    for value, name, noted in zip(shape, names, open_axes, strict=True):
        axis = kind.shape.dim.add()
        if value == -1:
            axis.dim_param = noted or name
        else:
            axis.dim_value = value
