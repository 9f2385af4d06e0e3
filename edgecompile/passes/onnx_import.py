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
from edgecompile.plan.step import Output, Stage, Step


class OnnxImport(Pass):
    """Imports the ONNX file of the recipe.

    What Ultralytics wrote into the file (class names, stride, task) is believed; where nothing is written, the class
    names come from the data set and the rest from these fields and from the shape of the output.

    Fields:
        decode: "yolo" for (1, 4 + classes, anchors), "end2end" for (1, detections, 6), "auto" by the shape.
        stride: coarsest stride of the model's feature maps in pixels, or "auto": what the file says, else 32.
    """

    stage: ClassVar[Stage] = Stage.EXPORT
    gives: ClassVar[str] = "fp32"
    begins: ClassVar[bool] = True

    decode: Literal["auto", "yolo", "end2end"] = "auto"
    stride: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"

    def lower(self, graph: Graph, model: Model | None) -> Model:
        imgsz = graph.recipe.model.imgsz
        height, width = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
        names = list(graph.materials.names)
        graph.add(
            Step(
                name="onnx_import",
                function="edgecompile.passes.onnx_import:import_model",
                stage=Stage.EXPORT,
                params={"imgsz": [height, width], "names": names, **self.model_dump()},
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
) -> dict[str, Any]:
    """Writes `model.onnx`, in one file and without metadata, and `spec.json`.

    Raises:
        StepError: when the file cannot be trusted or is no detection model for pictures of this size.
    """
    from edgecompile.onnx_graph.agreement import fixed_input, run
    from edgecompile.onnx_graph.canonical import operator_counts, save
    from edgecompile.onnx_graph.foreign import read_foreign
    from edgecompile.onnx_graph.spec import detection_spec, write_spec
    from edgecompile.onnx_graph.structure import name_nodes

    files = weights if isinstance(weights, list) else [weights]
    model = read_foreign(files)
    said = _metadata(model)
    if (task := said.get("task", "detect")) != "detect":
        raise StepError(f"'{files[0].name}' is a model for the task '{task}'; only 'detect' can be compiled")
    classes = _class_names(said.get("names"), names)
    entry = _only_input(model, imgsz)
    shape = [dimension.dim_value or -1 for dimension in entry.type.tensor_type.shape.dim]
    produced = run(model.SerializeToString(), fixed_input(shape, imgsz))
    kind = _decode(produced.shape, len(classes), decode)
    output_shape = [shape[0], *produced.shape[1:]]
    if -1 in shape[2:] and kind == "yolo":
        output_shape[2] = -1

    name_nodes(model.graph.node)
    save(model, out / "model.onnx")
    spec = detection_spec(
        names=classes,
        stride=int(said.get("stride", 32)) if stride == "auto" else int(stride),
        size=imgsz,
        input_name=entry.name,
        input_shape=shape,
        output_name=model.graph.output[0].name,
        output_shape=output_shape,
        decode=kind,
    )
    write_spec(spec, out / "spec.json")
    return {"classes": len(classes), "decode": kind, "metadata": sorted(said), "operators": operator_counts(model)}


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
    if isinstance(said, dict) and sorted(said) == list(range(len(said))):
        return [str(said[index]) for index in sorted(said)]
    if isinstance(said, (list, tuple)) and said:
        return [str(name) for name in said]
    return list(given)


def _only_input(model: Any, imgsz: list[int]) -> Any:
    """Returns the graph's one input, when it takes float32 pictures of this size.

    Raises:
        StepError: when it does not.
    """
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in weights]
    if len(entries) != 1:
        raise StepError(f"the model has {len(entries)} inputs; a detection model has one, the picture")
    kind = entries[0].type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        raise StepError(f"the model's input '{entries[0].name}' is not float32")
    sides = [dimension.dim_value for dimension in kind.shape.dim]
    if len(sides) != 4 or any(side and side != wanted for side, wanted in zip(sides[1:], [3, *imgsz], strict=True)):
        expected = f"(n, 3, {imgsz[0]}, {imgsz[1]})"
        raise StepError(
            f"the model's input has the shape {sides} (0 is dynamic), expected {expected}", fix="set model.imgsz"
        )
    return entries[0]


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
