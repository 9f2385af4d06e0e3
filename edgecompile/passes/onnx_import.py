"""Takes a model that is ONNX already: reads it safely, normalises it, finds out how to feed and read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, model_validator

from edgecompile.errors import Problem, StepError
from edgecompile.graphs.onnx import metadata
from edgecompile.graphs.onnx.families import family, family_names
from edgecompile.graphs.onnx.first_look import FLOAT_MODEL, problems_of
from edgecompile.graphs.onnx.layouts import AUTO, layout_names
from edgecompile.graphs.onnx.stated import StatedInput, StatedOutputs
from edgecompile.graphs.onnx.statement import InputStatement, OutputStatement, over
from edgecompile.passes import Pass
from edgecompile.passes._foreign_graph import DECODED, ObservedModel
from edgecompile.plan.graph import Graph, Model, Request
from edgecompile.plan.shapes import Profile, merged, one_shape, profile_of, sides
from edgecompile.plan.step import Output, Source, Stage, Step
from edgecompile.weights.onnx_header import PAIR, read_header

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

    def known_classes(self, weights: Path) -> Sequence[str] | None:
        header = read_header(weights) if self.class_names == "file" else None
        try:
            return metadata.class_names(header.metadata, weights.name) if header else None
        except StepError:  # `check_weights` tells it
            return None

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
                version=7,
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
                    **graph.categories,
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
            version=2,
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
    categories: Sequence[int | None] = (),
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
        categories: see `model_spec.spec_of`.

    Raises:
        StepError: when the file cannot be trusted or is no model of the task for pictures of this size.
    """
    from edgecompile.passes._foreign_graph import observe

    files = weights if isinstance(weights, list) else [weights]
    observed = observe(files, pictures, imgsz, task, entry or {}, profile)
    return finish(
        out, observed, names=names, task=task, imgsz=imgsz, stride=stride, class_names=class_names, outputs=outputs,
        categories=categories,
    )  # fmt: skip


def finish(
    out: Path,
    observed: ObservedModel,
    *,
    imgsz: list[int],
    names: list[str],
    task: str,
    stride: int | str = "auto",
    class_names: str = "file",
    outputs: StatedOutputs | None = None,
    categories: Sequence[int | None] = (),
) -> dict[str, Any]:
    """Writes what `import_model` does, of a model that was run already; arguments as there."""
    from edgecompile.graphs.onnx.anchor_file import read_anchors
    from edgecompile.graphs.onnx.constants import fold_weights
    from edgecompile.graphs.onnx.layouts import Expected, read_as
    from edgecompile.graphs.onnx.model_spec import spec_of, write_spec
    from edgecompile.graphs.onnx.serialization import operator_counts, save
    from edgecompile.graphs.onnx.structure import Structure, name_nodes
    from edgecompile.graphs.onnx.ultralytics_outputs import decode_of, stated_facts
    from edgecompile.passes._foreign_graph import output_facts, rewrite_outputs

    outputs = outputs or {}
    file, notes, shapes, changes = observed.file, observed.notes, observed.shapes, [*observed.changes]
    stated = metadata.class_names(notes, file) if class_names == "file" else None
    model = observed.model()
    if task in DECODED:
        expected = Expected(None if stated is None else len(stated), len(names))
        options = cast("StatedOutputs", {key: value for key, value in outputs.items() if key != "layout"})
        output_names = [output.name for output in model.graph.output]
        beside = outputs.get("anchors_file")
        anchors = read_anchors(next(path for path in observed.files if path.name == beside)) if beside else None
        layout_stated = outputs.get("layout", AUTO)
        reading = read_as(observed.ran, output_names, expected, layout_stated, options, DECODED[task], anchors)
        facts, added = rewrite_outputs(model, file, reading, shapes)
        classes, decode, layout = reading.classes, reading.layout.DECODE, reading.name
    else:
        if outputs:
            raise StepError(f"passes.onnx_import.outputs states layouts of detectors and classifiers, not of '{task}'")
        facts, added = output_facts(model, file, shapes), []
        decode = layout = decode_of([output.shape for output in facts], task)
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
        input_name=observed.entry,
        input_shape=merged(shapes),
        outputs=facts,
        decode=decode,
        profile=shapes,
        frame=observed.frame,
        stated=stated_facts(notes),
        categories=categories,
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
        "changes": [*changes, *added],
        "operators": operator_counts(model),
        **({"notes": remarks} if remarks else {}),
    }
