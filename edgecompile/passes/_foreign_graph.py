"""A foreign ONNX file with the canonical input, run on pictures; and its outputs brought into the form of a layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.stated import StatedInput
from edgecompile.graphs.onnx.statement import InputStatement
from edgecompile.library_errors import EXPORT_AGAIN
from edgecompile.plan.shapes import Profile, distinct, merged, one_shape
from edgecompile.runtime.spec_document import LetterboxDocument

if TYPE_CHECKING:
    from edgecompile.evaluate.tasks import OutputFacts
    from edgecompile.graphs.onnx.layouts import Observed, Reading

DECODED: Mapping[str, frozenset[str]] = {
    "detect": frozenset({"yolo", "end2end"}),
    "classify": frozenset({"probabilities"}),
}
"""Task to what layouts may leave for the runtime to decode."""


@dataclass(frozen=True)
class ObservedModel:
    """A foreign model whose input is canonical, and what it put out.

    Attributes:
        files: the ONNX file, then those beside it.
        serialized: the model, in an operator set that all passes know.
        ran: what it put out on everything that it was run on.
        notes: its metadata.
        entry: name of its input.
        shapes: that it takes.
        frame: how pictures come to its size.
        changes: what was changed, for people.
    """

    files: Sequence[Path]
    serialized: bytes
    ran: Sequence[Observed]
    notes: dict[str, str]
    entry: str
    shapes: Profile
    frame: LetterboxDocument
    changes: Sequence[str]

    @property
    def file(self) -> str:
        return self.files[0].name

    def model(self) -> Any:
        """Returns a copy of the model."""
        import onnx

        return onnx.load_model_from_string(self.serialized)


def observe(
    files: list[Path],
    pictures: Sequence[Path],
    imgsz: list[int],
    task: str,
    entry: StatedInput,
    profile: Profile | None,
) -> ObservedModel:
    """Reads a file, makes its input canonical and runs it; arguments as of `onnx_import.import_model`."""
    from edgecompile.graphs.onnx import metadata
    from edgecompile.graphs.onnx.canonical_input import take_canonical
    from edgecompile.graphs.onnx.foreign import read_foreign
    from edgecompile.graphs.onnx.picture_input import agreed, fix_axes, only_input, with_channels
    from edgecompile.graphs.onnx.statement import frame_of
    from edgecompile.graphs.onnx.widening import widen

    file = files[0].name
    model = read_foreign(files)
    notes = metadata.notes_of(model)
    metadata.require_task(notes, file, task)
    form, changes = only_input(model, entry, imgsz)
    shapes = agreed(form.opened, with_channels(profile or one_shape(imgsz), form.channels))
    changes += take_canonical(model, form, entry)
    if widened := widen(model):
        changes.append(f"{widened} weights of half precision are float32 now")
    changes += fix_axes(model.graph.input[0], merged(shapes), form.opened)
    entry_name, frame = model.graph.input[0].name, frame_of(InputStatement.model_validate(entry))
    stack = _pictures(pictures, entry_name, shapes, imgsz, task, frame)
    model, ran, raised = _observed(model, file, stack, shapes)
    return ObservedModel(files, model.SerializeToString(), ran, notes, entry_name, shapes, frame, [*changes, *raised])


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


def rewrite_outputs(model: Any, file: str, reading: Reading, shapes: Profile) -> tuple[list[OutputFacts], list[str]]:
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
    return output_facts(model, file, shapes), changes


def output_facts(model: Any, file: str, shapes: Profile) -> list[OutputFacts]:
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
