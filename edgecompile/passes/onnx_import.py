"""Takes a model that is ONNX already: reads it safely, normalises it, finds out how to feed and read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, model_validator

from edgecompile.errors import Problem, StepError
from edgecompile.graphs.onnx.families import family, family_names
from edgecompile.graphs.onnx.first_look import FLOAT_MODEL, problems_of
from edgecompile.graphs.onnx.layouts import AUTO, layout_names
from edgecompile.graphs.onnx.stated import StatedInput, StatedOutputs
from edgecompile.graphs.onnx.statement import InputStatement, OutputStatement, over
from edgecompile.library_errors import EXPORT_AGAIN
from edgecompile.passes import Pass
from edgecompile.plan.graph import Graph, Model, Request
from edgecompile.plan.shapes import Profile, distinct, merged, one_shape, profile_of, sides
from edgecompile.plan.step import Output, Source, Stage, Step
from edgecompile.runtime.spec_document import LetterboxDocument
from edgecompile.weights.onnx_header import PAIR, read_header

if TYPE_CHECKING:
    from edgecompile.evaluate.tasks import OutputFacts
    from edgecompile.graphs.onnx.layouts import Observed, Reading

DECODES = (AUTO, *layout_names())
FAMILIES = family_names()

PICTURES = 4
"""Pictures on which the outputs must agree with how they are read."""


class OnnxImport(Pass):
    """Imports the ONNX file of the recipe.

    What Ultralytics wrote into the file (class names, stride, task) is believed. Where nothing is written, the class
    names come from the data set and the rest from these fields. How outputs are read is never guessed from their shapes
    alone: the outputs on pictures of the data set must agree.

    Fields:
        family: presets of `input` and `outputs` for models of one kind, a file of `graphs/onnx/families/`; what is
            stated beside it counts more.
        input: how the model wants its pictures, as far as otherwise than Ultralytics' models: RGB, scaled to 0..1.
        outputs: how it puts out what it finds.
        decode: an older name of `outputs.layout`.
        stride: coarsest stride of the model's feature maps in pixels, or "auto": what the file says, else 32.
        class_names: "file" takes the class names that the file states, "data" always takes those of the data set.
        floor: smallest main metric (mAP50-95, top-1) on some labelled pictures; a model below it is refused with the
            statement that fits better. 0 for no such proof.
    """

    stage: ClassVar[Stage] = Stage.EXPORT
    output_precision: ClassVar[str] = "fp32"
    is_source: ClassVar[bool] = True

    family: Literal[FAMILIES] | None = None  # type: ignore[valid-type]
    input: InputStatement = InputStatement()
    outputs: OutputStatement = OutputStatement()
    decode: Literal[DECODES] = AUTO  # type: ignore[valid-type]
    stride: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    class_names: Literal["file", "data"] = "file"
    floor: Annotated[float, Field(ge=0, le=1)] = 0.05

    @model_validator(mode="after")
    def _names_one_layout(self) -> OnnxImport:
        if self.decode != AUTO and self.outputs.layout not in (None, AUTO, self.decode):
            raise ValueError("decode is an older name of outputs.layout, and the two differ: leave decode out")
        return self

    def statement(self) -> tuple[InputStatement, OutputStatement]:
        """Returns what is stated of input and outputs, the family's where nothing is."""
        usual = family(self.family) if self.family else {}
        outputs = self.outputs
        if self.decode != AUTO:
            outputs = outputs.model_copy(update={"layout": self.decode})
        usual_outputs = usual.get("outputs", StatedOutputs())
        if outputs.layout not in (None, usual_outputs.get("layout")):
            usual_outputs = StatedOutputs()  # of another layout
        return over(self.input, usual.get("input", {})), over(outputs, usual_outputs)

    def files_beside(self) -> tuple[str, ...]:
        stated = self.statement()[1].anchors_file
        return (stated,) if stated else ()

    def check_weights(self, weights: Path, recipe: Request) -> list[Problem]:
        if weights.suffix != ".onnx":
            return [Problem(f"'{weights.name}' is no ONNX file", fix="take the pass onnx_export for a checkpoint")]
        shapes: Profile | None = None  # the file's own
        if recipe.model.imgsz is not None:
            usual = sides(recipe.model.imgsz)
            profile, _ = profile_of(recipe.model, recipe.target, usual)
            shapes = profile or one_shape(usual)
        stated, _ = self.statement()
        problems = problems_of(weights, shapes, self.class_names, recipe.model.task, stated.stated())
        return [*problems, *_pair_problems(weights, recipe.target)]

    def lower(self, graph: Graph, model: Model | None) -> Model:
        height, width = graph.imgsz
        profile = graph.profile()
        names = list(graph.materials.names)
        pictures = graph.materials.validation.paths
        proof = Source("pictures", pictures[:: -(-len(pictures) // PICTURES)], many=True)
        entry, outputs = self.statement()
        step = graph.add(
            Step(
                name="onnx_import",
                version=5,
                function="edgecompile.passes.onnx_import:import_model",
                stage=Stage.EXPORT,
                params={
                    "imgsz": [height, width],
                    "profile": profile,
                    "names": names,
                    "task": graph.task,
                    "entry": entry.stated(),
                    "outputs": outputs.stated(),
                    "stride": self.stride,
                    "class_names": self.class_names,
                },
                inputs={"weights": graph.materials.weights, "pictures": proof},
                tools=("onnx", "onnxruntime", "numpy", "opencv-python-headless"),
                isa=True,
                memory_mb=1000,
                about="reads, checks and normalises the ONNX file",
            )
        )
        if self.floor:
            _add_proof(graph, step, self.floor)
        precision = "int8" if _holds_pairs(Path(graph.materials.weights.paths[0])) else "fp32"
        return Model(Output("onnx_import", "model.onnx"), Output("onnx_import", "spec.json"), precision=precision)


def _add_proof(graph: Graph, step: Step, floor: float) -> None:
    """Adds the step that proves an import on labelled pictures."""
    reading = graph.materials.reading.as_json()
    graph.add(
        Step(
            name="statement_proof",
            function="edgecompile.passes._statement_proof:prove",
            stage=Stage.VALIDATION,
            params={"floor": floor, "params": dict(step.params), **({"reading": reading} if reading else {})},
            inputs={
                "model": Output(step.name, "model.onnx"),
                "spec": Output(step.name, "spec.json"),
                "weights": graph.materials.weights,
                "pictures": graph.materials.validation,
                "labels": graph.materials.labels,
            },
            tools=step.tools,
            isa=True,
            memory_mb=1000,
            about="finds what is labelled on some pictures, as it is stated",
        )
    )


def _holds_pairs(weights: Path) -> bool:
    """Whether the file holds Q/DQ pairs: such a model is judged and packed as it is."""
    header = read_header(weights)
    return header is not None and bool(PAIR & {name for _, name in header.operators})


def _pair_problems(weights: Path, target: Any) -> list[Problem]:
    """Returns why a target cannot take the Q/DQ pairs of a file."""
    header = read_header(weights)
    if header is None or not _holds_pairs(weights):
        return []
    told = f"'{weights.name}' holds Q/DQ pairs, and {target.device} ({target.kind})"
    if target.why_no_pairs:
        return [Problem(f"{told} takes none: {target.why_no_pairs}", fix=FLOAT_MODEL)]
    if target.signed_pairs and not header.signed_pairs:
        fix = f"{FLOAT_MODEL}, or quantize it again: activations in int8, symmetric"
        return [Problem(f"{told} takes those of int8 around 0 alone; its are uint8, or around another zero", fix=fix)]
    return []


def import_model(
    out: Path,
    *,
    weights: Path | list[Path],
    pictures: list[Path],
    imgsz: list[int],
    names: list[str],
    task: str,
    stride: int | str = "auto",
    class_names: str = "file",
    entry: StatedInput | None = None,
    outputs: StatedOutputs | None = None,
    profile: Profile | None = None,
) -> dict[str, Any]:
    """Writes `model.onnx`, in one file and without metadata, and `spec.json`.

    Whatever input and outputs the file has, those of `model.onnx` are canonical: float32 pictures (n, channels, h, w)
    scaled to 0..1, RGB, and one output that the runtime reads.

    Args:
        pictures: of the data set, on which the outputs must agree with how they are read.
        imgsz: height and width, pixels; also those of the usual shape of the profile.
        names: class names of the data set.
        task: that the model is compiled for.
        entry: what `statement.InputStatement` states.
        outputs: what `statement.OutputStatement` states.
        profile: shapes that the model takes; one picture of `imgsz` where None. Axes that the file leaves open and the
            profile does not are fixed.

    Raises:
        StepError: when the file cannot be trusted or is no model of the task for pictures of this size.
    """
    from edgecompile.graphs.onnx import metadata
    from edgecompile.graphs.onnx.anchor_file import read_anchors
    from edgecompile.graphs.onnx.canonical_input import take_canonical
    from edgecompile.graphs.onnx.constants import fold_weights
    from edgecompile.graphs.onnx.foreign import read_foreign
    from edgecompile.graphs.onnx.layouts import Expected, read_as
    from edgecompile.graphs.onnx.model_spec import spec_of, write_spec
    from edgecompile.graphs.onnx.picture_input import agreed, fix_axes, only_input, with_channels
    from edgecompile.graphs.onnx.serialization import operator_counts, save
    from edgecompile.graphs.onnx.statement import frame_of
    from edgecompile.graphs.onnx.structure import Structure, name_nodes
    from edgecompile.graphs.onnx.ultralytics_outputs import decode_of, stated_facts
    from edgecompile.graphs.onnx.widening import widen

    files = weights if isinstance(weights, list) else [weights]
    file = files[0].name
    entry, outputs = entry or {}, outputs or {}
    model = read_foreign(files)
    notes = metadata.notes_of(model)
    metadata.require_task(notes, file, task)
    stated = metadata.class_names(notes, file) if class_names == "file" else None
    form, changes = only_input(model, entry, imgsz)
    shapes = agreed(form.opened, with_channels(profile or one_shape(imgsz), form.channels))
    changes += take_canonical(model, form, entry)
    if widened := widen(model):
        changes.append(f"{widened} weights of half precision are float32 now")
    shape = merged(shapes)
    changes += fix_axes(model.graph.input[0], shape, form.opened)

    entry_name, frame = model.graph.input[0].name, frame_of(InputStatement.model_validate(entry))
    stack = _pictures(pictures, entry_name, shapes, imgsz, task, frame)
    model, observed, raised = _observed(model, file, stack, shapes)
    if task in DECODED:
        expected = Expected(None if stated is None else len(stated), len(names))
        options = cast("StatedOutputs", {key: value for key, value in outputs.items() if key != "layout"})
        output_names = [output.name for output in model.graph.output]
        beside = outputs.get("anchors_file")
        anchors = read_anchors(next(path for path in files if path.name == beside)) if beside else None
        layout_stated = outputs.get("layout", AUTO)
        reading = read_as(observed, output_names, expected, layout_stated, options, DECODED[task], anchors)
        output_facts, added = _rewrite(model, file, reading, shapes)
        classes, decode, layout = reading.classes, reading.layout.DECODE, reading.name
    else:
        if outputs:
            raise StepError(f"passes.onnx_import.outputs states layouts of detectors and classifiers, not of '{task}'")
        output_facts, added = _output_facts(model, file, shapes), []
        decode = layout = decode_of([facts.shape for facts in output_facts], task)
        classes = len(stated or names)
    if folded := fold_weights(model):
        changes.append(f"{folded} weights and biases that were computed of constants are constants now")
    name_nodes(model.graph.node)
    save(model, out / "model.onnx")
    known = stated or [*names, *(f"class {number}" for number in range(len(names), classes))]
    spec = spec_of(
        task=task,
        names=known[:classes],
        stride=metadata.coarsest_stride(notes, file) if stride == "auto" else int(stride),
        size=imgsz,
        input_name=entry_name,
        input_shape=shape,
        outputs=output_facts,
        decode=decode,
        profile=shapes,
        frame=frame,
        stated=stated_facts(notes),
    )
    write_spec(spec, out / "spec.json")
    remarks = [] if stated else [f"'{file}' states no class names: those of the data set are taken"]
    if Structure(model).is_quantized():
        remarks.append(f"'{file}' holds Q/DQ pairs: it is packed as it is, and is its own reference")
    return {
        "classes": classes,
        "decode": decode,
        "layout": layout,
        "metadata": sorted(notes),
        "changes": [*changes, *raised, *added],
        "operators": operator_counts(model),
        **({"notes": remarks} if remarks else {}),
    }


DECODED: Mapping[str, frozenset[str]] = {
    "detect": frozenset({"yolo", "end2end"}),
    "classify": frozenset({"probabilities"}),
}
"""Task to what layouts may leave for the runtime to decode."""


def _pictures(
    pictures: Sequence[Path],
    entry: str,
    shapes: Profile,
    imgsz: Sequence[int],
    task: str,
    frame: LetterboxDocument,
) -> list[Any]:
    """Returns pictures of the data set as the canonical input takes them."""
    from edgecompile.evaluate.tasks import OutputFacts, find_task
    from edgecompile.graphs.onnx.model_spec import spec_of
    from edgecompile.quantization.calibration_batches import input_reader

    # of the input alone: how outputs are read is what the pictures are for
    known = task if task in DECODED else "detect"
    plain = find_task(known).plain_decode
    outputs = [OutputFacts("any", (-1, 5, -1) if plain == "yolo" else (-1, 1))]
    spec = spec_of(
        task=known, names=["any"], stride=32, size=imgsz, input_name=entry, input_shape=merged(shapes),
        outputs=outputs, decode=plain, profile=shapes, frame=frame,
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
    observed = [Observed(tuple(run(picture)), picture.shape[2:], len(picture)) for picture in inputs]
    version = operator_set(model)
    model = raise_operator_set(model, file)
    if operator_set(model) == version:
        return model, observed, []
    rerun = bounded_run(model.SerializeToString(), file)
    for picture, original in zip(inputs, observed, strict=True):
        for after, before in zip(rerun(picture), original.outputs, strict=True):
            if after.shape != before.shape or not np.allclose(after, before, rtol=1e-3, atol=1e-3, equal_nan=True):
                raise StepError(
                    f"raising '{file}' from operator set {version} changed what it computes", fix=EXPORT_AGAIN
                )
    return model, observed, [f"operator set raised from {version} to {operator_set(model)}"]


def _rewrite(model: Any, file: str, reading: Reading, shapes: Profile) -> tuple[list[OutputFacts], list[str]]:
    """Adds the nodes of a layout, in place. Returns the output, -1 where its shape changes, and what was changed."""
    from edgecompile.graphs.onnx.layouts import rewrite

    largest = shapes["max"][2:] if shapes["min"][2:] != shapes["max"][2:] else None
    count, unread = rewrite(model, reading, largest)
    changes = []
    if count:
        changes.append(f"{count} operators bring the output from {reading.name} to {reading.layout.DECODE}")
    if unread:
        listed = ", ".join(name[:60] for name in unread[:4]) + (", …" if len(unread) > 4 else "")
        changes.append(f"{len(unread)} outputs that nothing reads are left out: {listed}")
    return _output_facts(model, file, shapes), changes


def _output_facts(model: Any, file: str, shapes: Profile) -> list[OutputFacts]:
    """Returns the outputs of a model, -1 where their shapes change; states these in it, in place, and forgets those of
    tensors between, noted before axes were fixed."""
    from edgecompile.evaluate.tasks import OutputFacts
    from edgecompile.graphs.onnx.agreement import fixed_input
    from edgecompile.graphs.onnx.bounded_run import bounded_run

    run = bounded_run(model.SerializeToString(), file)
    cases = [[output.shape for output in run(fixed_input(shape, shape[2:]))] for shape in distinct(shapes)]
    del model.graph.value_info[:]
    facts = []
    for value, each in zip(model.graph.output, zip(*cases, strict=True), strict=True):
        sides = tuple(axis[0] if len(set(axis)) == 1 else -1 for axis in zip(*each, strict=True))
        facts.append(OutputFacts(value.name, sides))
        kind = value.type.tensor_type
        kind.ClearField("shape")
        for number, side in enumerate(sides):
            axis = kind.shape.dim.add()
            if side == -1:
                axis.dim_param = "batch" if number == 0 else f"axis_{number}"
            else:
                axis.dim_value = side
    return facts
