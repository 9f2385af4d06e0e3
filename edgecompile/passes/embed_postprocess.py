"""Builds the post-processing into the artifact: one call gives boxes, scores, classes and counts, in any language.

Works behind what the target compiled, so that nothing before it changes: it is quantized and lowered by nobody, and the
accuracy of the artifact is judged on the rows before the suppression, as without this pass.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from edgecompile.errors import PlanError, StepError
from edgecompile.evaluate.tasks import find_task
from edgecompile.passes import Pass
from edgecompile.plan.facts import GraphFacts
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step

if TYPE_CHECKING:
    from edgecompile.graphs.onnx.row_choice import Rows
    from edgecompile.graphs.onnx.suppression import Thresholds
    from edgecompile.runtime.spec_document import SpecDocument

NAME = "embed_postprocess"
NMS_FREE = "end2end"
"""What is put out by a head that needs no suppression."""
TOOLS = {"onnx": ("onnx", "numpy"), "openvino": ("openvino", "onnx", "numpy")}
"""Formats of artifacts that it can be built into, and the distributions that do it."""


class EmbedPostprocess(Pass):
    """Builds non-maximum suppression, or for NMS-free heads the choice of rows, into the artifact.

    Fields:
        conf: scores must be above it.
        iou: boxes that overlap a better box of their class by more are dropped (of rotated boxes: that are more like
            one); no part of NMS-free heads.
        max_det: most boxes of a picture: so many places the outputs have.
        thresholds: where the three stand. "constants" of the graph; "inputs" of the model, beside the picture: they
            are defaults, and max_det is also the most that can be asked for.
    """

    stage: ClassVar[Stage] = Stage.COMPILATION
    on_artifact: ClassVar[bool] = True

    conf: float = Field(default=0.25, ge=0, le=1)
    iou: float = Field(default=0.7, ge=0, le=1)
    max_det: int = Field(default=300, ge=1, le=10_000)
    thresholds: Literal["constants", "inputs"] = "constants"

    def lower(self, graph: Graph, model: Model | None) -> Model:
        target, task = graph.target, find_task(graph.task)
        both = target.embeds & task.embeds
        suppressions = task.embeds - {NMS_FREE}
        if model is None or model.format not in TOOLS or not (both if _is_nms_free(graph) else both & suppressions):
            lacks_head = bool(both) and model is not None
            who, reason = (
                (f"a model for the task '{graph.task}'", task.why_not_embedded)
                if target.embeds and not suppressions - target.embeds
                else (f"the model of {target.device} ({target.kind})", target.why_not_embedded)
            )
            head = "passes.onnx_export.end2end=true, where the model has an NMS-free head, or " if lacks_head else ""
            raise PlanError(
                f"'{NAME}' cannot be built into {who}: {reason}; the runtime of edgecompile does it on the device",
                fix=f"{head}leave the pass out: passes.{NAME}=null",
            )
        if self.thresholds == "inputs" and not target.embeds_inputs:
            raise PlanError(
                f"'{NAME}': the model of {target.device} ({target.kind}) takes no thresholds beside the picture",
                fix=f"passes.{NAME}.thresholds=constants",
            )
        if target.embedding_remark and not _is_nms_free(graph):
            graph.note(target.embedding_remark)
        graph.add(
            Step(
                name=NAME,
                version=2,
                function=f"edgecompile.passes.embed_postprocess:embed_in_{model.format}",
                stage=self.stage,
                params={
                    "conf": self.conf,
                    "iou": self.iou,
                    "max_det": self.max_det,
                    "thresholds": self.thresholds,
                    "decodes": sorted(both),
                },
                inputs={"artifact": model.artifact, "spec": model.spec},
                tools=TOOLS[model.format],
                memory_mb=400,
                about=f"boxes, scores, classes and counts in one call, above {self.conf:g}",
            )
        )
        return model.with_(artifact=Output(NAME, model.artifact.path), spec=Output(NAME, "spec.json"))


def _is_nms_free(graph: Graph) -> bool:
    """Whether the recipe asks for an NMS-free head. What "auto" and a foreign file come to is not known before."""
    return any(getattr(pass_, "end2end", False) is True for pass_ in graph.recipe.ordered_passes())


def embed_in_onnx(
    out: Path, *, artifact: Path, spec: Path, conf: float, iou: float, max_det: int, thresholds: str, decodes: list[str]
) -> GraphFacts:
    """Writes `model.onnx` with its post-processing, its `spec.json`, and whatever lies beside the artifact.

    Args:
        artifact: the ONNX file, or the folder that holds it.
        decodes: what the target can run the post-processing of: "yolo", "rotated", "end2end".

    Raises:
        StepError: the target cannot run the post-processing of this model.
    """
    import shutil

    from edgecompile.graphs.onnx.serialization import load, operator_counts, save
    from edgecompile.graphs.onnx.suppression import append, graph_behind
    from edgecompile.runtime.backends import choose_file

    values = _thresholds(conf, iou, max_det, thresholds)
    rows, document, name = _read_rows(spec, decodes)
    file = artifact if artifact.is_file() else artifact / choose_file(artifact, ".onnx")
    model = load(file)
    before = len(model.graph.node)
    versions = [opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    outputs = [output.name for output in model.graph.output]
    append(model, name if name in outputs else outputs[0], graph_behind(rows, values, max(versions)))
    save(model, out / "model.onnx")
    for beside in [] if artifact.is_file() else artifact.iterdir():
        if beside.suffix != ".onnx" and beside.name not in ("spec.json", "facts.json"):
            shutil.copyfile(beside, out / beside.name)
    _write_spec(out, document, rows, values)
    return {
        "changes": [_change(rows, values, len(model.graph.node) - before)],
        "operators": operator_counts(model),
    }


def embed_in_openvino(
    out: Path, *, artifact: Path, spec: Path, conf: float, iou: float, max_det: int, thresholds: str, decodes: list[str]
) -> GraphFacts:
    """Writes `model.xml` and `model.bin` with their post-processing, and their `spec.json`. Arguments and errors: as
    `embed_in_onnx`."""
    from edgecompile.graphs.onnx.suppression import graph_behind
    from edgecompile.graphs.openvino import import_openvino
    from edgecompile.graphs.openvino.canonical_names import XML, save
    from edgecompile.graphs.openvino.ir_suppression import OPERATOR_SET, append

    values = _thresholds(conf, iou, max_det, thresholds)
    rows, document, name = _read_rows(spec, decodes)
    model = import_openvino().Core().read_model(artifact / XML)
    before = len(model.get_ordered_ops())
    embedded = append(model, name, graph_behind(rows, values, OPERATOR_SET))
    save(embedded, out)
    _write_spec(out, document, rows, values)
    return {"changes": [_change(rows, values, len(embedded.get_ordered_ops()) - before)]}


def _thresholds(conf: float, iou: float, max_det: int, stand: str) -> Thresholds:
    from edgecompile.graphs.onnx.suppression import Thresholds

    return Thresholds(conf, iou, max_det, as_inputs=stand == "inputs")


def _read_rows(path: Path, decodes: list[str]) -> tuple[Rows, SpecDocument, str]:
    """Returns what a spec says of the output with rows, the spec, and the name of the output."""
    from edgecompile.graphs.onnx.row_choice import Rows
    from edgecompile.runtime.spec import read_spec
    from edgecompile.runtime.tasks._object_rows import SUPPRESSED, ObjectRows

    spec = read_spec(path)
    task: Any = spec.task
    decode = getattr(task, "decode_as", "no rows")
    if isinstance(task, ObjectRows) and decode != NMS_FREE:
        decode = task.suppression
    if not isinstance(task, ObjectRows) or task.decode_as == SUPPRESSED or decode not in decodes:
        raise StepError(
            f"the model puts out '{decode}', the target runs the post-processing of {', '.join(decodes)}",
            fix=f"leave the pass out: passes.{NAME}=null",
        )
    output: Any = spec.document
    shape = tuple(output["output"]["shape"])
    rows = Rows(decode, shape, len(spec.names), task.extras, task.class_agnostic)
    return rows, spec.document, task.outputs[0]


def _write_spec(out: Path, document: SpecDocument, rows: Rows, values: Thresholds) -> None:
    from edgecompile.graphs.onnx.model_spec import write_spec
    from edgecompile.runtime.tasks._object_rows import BESIDE, BOXES, CLASSES, COUNTS, PARAMETERS, SCORES, SUPPRESSED

    names = (SCORES, CLASSES, COUNTS, *([BESIDE] if rows.extras else []))
    parts = {
        "output": {
            "decode": SUPPRESSED,
            "name": BOXES,
            "shape": [rows.shape[0], values.max_det, 4],
            **{name: name for name in names},
        },
        "nms": {
            "conf": values.conf,
            "iou": values.iou,
            "max_det": values.max_det,
            "class_agnostic": rows.class_agnostic,
        },
        **({"parameters": PARAMETERS} if values.as_inputs else {}),
    }
    document = {**document, **parts}  # type: ignore[typeddict-item]
    write_spec(document, out / "spec.json")


def _change(rows: Rows, values: Thresholds, count: int) -> str:
    work = "the choice of rows" if rows.decode == NMS_FREE else "non-maximum suppression"
    limits = "thresholds are inputs" if values.as_inputs else f"boxes above {values.conf:g}"
    return f"{work} built in, {count} operators: at most {values.max_det} boxes, {limits}"
