"""Takes a detection model that is ONNX already: reads it safely, normalises it, finds out how to feed and read it."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from edgecompile.errors import StepError
from edgecompile.passes import Pass
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.shapes import Profile, distinct, merged, one_shape, sides
from edgecompile.plan.step import Output, Stage, Step

AXES = ("batch", "channels", "height", "width")


class OnnxImport(Pass):
    """Imports the ONNX file of the recipe.

    What Ultralytics wrote into the file (class names, stride, task) is believed; where nothing is written, the class
    names come from the data set and the rest from these fields and from the shape of the output.

    Fields:
        decode: "yolo" for (1, 4 + classes, anchors), "end2end" for (1, detections, 6), "auto" by the shape.
        stride: coarsest stride of the model's feature maps in pixels, or "auto": what the file says, else 32.
    """

    stage: ClassVar[Stage] = Stage.EXPORT
    output_precision: ClassVar[str] = "fp32"
    is_source: ClassVar[bool] = True

    decode: Literal["auto", "yolo", "end2end"] = "auto"
    stride: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"

    def lower(self, graph: Graph, model: Model | None) -> Model:
        height, width = sides(graph.recipe.model.imgsz)
        profile = graph.profile()
        names = list(graph.materials.names)
        graph.add(
            Step(
                name="onnx_import",
                function="edgecompile.passes.onnx_import:import_model",
                version=2,
                stage=Stage.EXPORT,
                params={"imgsz": [height, width], "profile": profile, "names": names, **self.model_dump()},
                inputs={"weights": graph.materials.weights},
                tools=("onnx", "onnxruntime", "numpy"),
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
    imgsz: list[int],
    names: list[str],
    decode: str,
    stride: int | str,
    profile: Profile | None = None,
) -> dict[str, Any]:
    """Writes `model.onnx`, in one file and without metadata, and `spec.json`.

    Args:
        imgsz: height and width, pixels; also those of the usual shape of the profile.
        profile: shapes that the model takes; one picture of `imgsz` where None. Axes that the file leaves open and the
            profile does not are fixed.

    Raises:
        StepError: when the file cannot be trusted or is no detection model for pictures of this size.
    """
    from edgecompile.graphs.onnx.agreement import fixed_input, run
    from edgecompile.graphs.onnx.constants import fold_weights
    from edgecompile.graphs.onnx.foreign import read_foreign
    from edgecompile.graphs.onnx.model_spec import detection_spec, write_spec
    from edgecompile.graphs.onnx.serialization import operator_counts, save
    from edgecompile.graphs.onnx.structure import Structure, name_nodes

    files = weights if isinstance(weights, list) else [weights]
    model = read_foreign(files)
    if Structure(model).is_quantized():
        raise StepError(f"'{files[0].name}' is quantized already", fix="import the float model it was made from")
    said = _metadata(model)
    if (task := said.get("task", "detect")) != "detect":
        raise StepError(f"'{files[0].name}' is a model for the task '{task}'; only 'detect' can be compiled")
    classes = _class_names(said.get("names"), names)
    entry, opened = _only_input(model)
    shapes = _agreed(opened, profile or one_shape(imgsz))
    shape = merged(shapes)
    changes = _fix_axes(entry, shape, opened)
    graph = model.SerializeToString()
    produced = [run(graph, fixed_input(one, one[2:])).shape for one in distinct(shapes)]
    kinds = {_decode(one, len(classes), decode) for one in produced}
    kind = kinds.pop() if len(kinds) == 1 else "yolo"
    output_shape = [sides[0] if len(set(sides)) == 1 else -1 for sides in zip(*produced, strict=True)]
    _state_output(model, output_shape)

    if folded := fold_weights(model):
        changes.append(f"{folded} weights and biases that were computed of constants are constants now")
    name_nodes(model.graph.node)
    save(model, out / "model.onnx")
    spec = detection_spec(
        names=classes,
        stride=_stride(said.get("stride", 32), files[0].name) if stride == "auto" else int(stride),
        size=imgsz,
        input_name=entry.name,
        input_shape=shape,
        output_name=model.graph.output[0].name,
        output_shape=output_shape,
        decode=kind,
        profile=shapes,
    )
    write_spec(spec, out / "spec.json")
    return {
        "classes": len(classes),
        "decode": kind,
        "metadata": sorted(said),
        "changes": changes,
        "operators": operator_counts(model),
    }


def _fix_axes(entry: Any, shape: Sequence[int], opened: Sequence[int]) -> list[str]:
    """Fixes the axes of the input that the file leaves open and `shape` does not, in place; returns what was fixed."""
    changes = []
    for axis, (side, before) in enumerate(zip(shape, opened, strict=True)):
        if before == -1 and side != -1:
            entry.type.tensor_type.shape.dim[axis].dim_value = side
            changes.append(f"{AXES[axis]} fixed at {side}")
    return changes


def _state_output(model: Any, shape: Sequence[int]) -> None:
    """States the shape of the first output, in place, and forgets those of tensors between, noted before axes were
    fixed."""
    del model.graph.value_info[:]
    sides = model.graph.output[0].type.tensor_type.shape.dim
    names = ("batch", "rows", "anchors")
    for side, value, name in zip(sides, shape, names, strict=True):
        if value == -1:
            side.dim_param = side.dim_param or name
        else:
            side.dim_value = value


def _metadata(model: Any) -> dict[str, Any]:
    """Returns what the exporter noted on the model, each value read as a Python literal where it is one."""
    said: dict[str, Any] = {}
    for entry in model.metadata_props:
        if len(entry.value) > 100_000:
            continue
        try:
            said[entry.key] = ast.literal_eval(entry.value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            said[entry.key] = entry.value
    return said


def _class_names(said: Any, given: Sequence[str]) -> list[str]:
    """Returns the class names that the file states, or those of the data set."""
    if isinstance(said, dict) and said.keys() == {*range(len(said))}:
        return [str(said[index]) for index in sorted(said)]
    if isinstance(said, (list, tuple)) and said:
        return [str(name) for name in said]
    return list(given)


def _stride(said: Any, file: str) -> int:
    """Returns the coarsest stride that the file states: a number, or one for each feature map.

    Raises:
        StepError: it states something else.
    """
    stated = said if isinstance(said, (list, tuple)) and said else [said]
    if not all(isinstance(one, (int, float)) and one >= 1 and one == int(one) for one in stated):
        message = f"'{file}' states the stride {said!r}, expected a whole number of pixels"
        raise StepError(message, fix="set passes.onnx_import.stride")
    return int(max(stated))


def _only_input(model: Any) -> tuple[Any, list[int]]:
    """Returns the graph's one input and its shape, -1 where that is open.

    Raises:
        StepError: when there are several, or it takes no float32 pictures.
    """
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in weights]
    if len(entries) != 1:
        raise StepError(f"the model has {len(entries)} inputs; a detection model has one, the picture")
    kind = entries[0].type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        raise StepError(f"the model's input '{entries[0].name}' is not float32")
    return entries[0], [side.dim_value or -1 for side in kind.shape.dim]


def _agreed(opened: Sequence[int], shapes: Profile) -> Profile:
    """Returns the shapes that the recipe asks for; a batch that the file fixes stands where the recipe names none.

    Raises:
        StepError: when the file does not take them.
    """
    if len(opened) == 4 and opened[0] > 0 and all(shape[0] == 1 for shape in shapes.values()):
        shapes = {point: [opened[0], *shape[1:]] for point, shape in shapes.items()}
    wanted = merged(shapes)
    fits = (side in (-1, asked) for side, asked in zip(opened, wanted, strict=True) if asked > 0)
    if len(opened) != 4 or not all(fits):
        expected = ", ".join("n" if side == -1 or axis == 0 else str(side) for axis, side in enumerate(wanted))
        raise StepError(
            f"the model's input has the shape {_shown(opened)}, expected ({expected})", fix="set model.imgsz"
        )
    if closed := [AXES[axis] for axis, asked in enumerate(wanted) if asked == -1 and opened[axis] != -1]:
        raise StepError(
            f"the model's input has the shape {_shown(opened)}, and model.dynamic asks for another {closed[0]} at run "
            "time",
            fix="export the file with dynamic axes, or leave model.dynamic out",
        )
    return shapes


def _shown(shape: Sequence[int]) -> str:
    return "(" + ", ".join("n" if side == -1 else str(side) for side in shape) + ")"


def _decode(shape: Sequence[int], classes: int, wanted: str) -> str:
    """Returns how to read an output of `shape`.

    Raises:
        StepError: when it is neither of the known forms, or not the one wanted.
    """
    fits = {
        "end2end": len(shape) == 3 and shape[2] == 6,
        "yolo": len(shape) == 3 and shape[1] == 4 + classes and shape[2] > shape[1],
    }
    found = [kind for kind, does in fits.items() if does and wanted in ("auto", kind)]
    if not found:
        expected = f"(n, {4 + classes}, anchors) or (n, detections, 6) for {classes} classes"
        raise StepError(f"the model's first output has the shape {list(shape)}, expected {expected}")
    return found[-1]
