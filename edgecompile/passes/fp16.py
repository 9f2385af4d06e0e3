"""FP16: half the size everywhere, faster on GPUs and NPUs; on an x86 CPU slower than float."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from edgecompile.errors import PlanError
from edgecompile.passes import Pass
from edgecompile.plan.facts import GraphFacts
from edgecompile.plan.fp16_range_steps import add_fp16_range
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step


class Fp16(Pass):
    """Stores the model in FP16, in the way of the target.

    Fields:
        keep: operators to leave in float, by type ("Resize").
    """

    stage: ClassVar[Stage] = Stage.QUANTIZATION
    output_precision: ClassVar[str] = "fp16"

    keep: tuple[str, ...] = ()

    def lower(self, graph: Graph, model: Model | None) -> Model:
        if model is None or model.precision != "fp32" or model.format != "onnx":
            raise PlanError("'fp16' works on a float ONNX model: put it after the export, alone of its kind")
        if not graph.target.fp16_in_graph:
            if self.keep:
                raise PlanError(f"'fp16' for {graph.target.kind} stores all weights in FP16", fix="leave 'keep' empty")
            return model.with_(precision="fp16")
        beyond = add_fp16_range(graph, model, "fp16")
        graph.add(
            Step(
                name="fp16",
                function="edgecompile.passes.fp16:convert",
                stage=Stage.QUANTIZATION,
                version=4,
                params={"keep": list(self.keep)},
                inputs={"model": model.artifact, "beyond": beyond},
                tools=("onnxruntime", "onnx", "numpy"),
                about="weights and operators in FP16; inputs, outputs and the decoding of boxes in float",
            )
        )
        return model.with_(artifact=Output("fp16", "model.onnx"), precision="fp16")


def convert(out: Path, *, model: Path, keep: list[str], beyond: Path) -> GraphFacts:
    """Writes the FP16 `model.onnx`.

    Args:
        keep: types of operators to leave in float.
        beyond: `beyond.json` of `fp16_range.check`: what makes or reads such numbers is left in float.

    Raises:
        StepError: when an operator type of `keep` is not in the graph.
    """
    from edgecompile.errors import Problem, StepError, nearest
    from edgecompile.graphs.onnx.fp16 import decode_names, halve
    from edgecompile.graphs.onnx.serialization import load, operator_counts, save
    from edgecompile.graphs.onnx.structure import Structure
    from edgecompile.quantization.fp16_range import left_in_float

    graph = load(model)
    counts = operator_counts(graph)
    if problems := [
        Problem(f"keep: no operator '{operator}'", fix=nearest(operator, counts))
        for operator in keep
        if operator not in counts
    ]:
        raise StepError(problems)
    decode = decode_names(graph)
    wide = left_in_float(Structure(graph), beyond)
    halved = halve(graph, operators=keep, nodes=[*decode, *wide])
    save(halved, out / "model.onnx")
    casts = operator_counts(halved).get("Cast", 0) - counts.get("Cast", 0)
    changes = [*([f"{len(wide)} nodes left in float for numbers beyond FP16"] if wide else [])]
    changes += [f"weights in FP16, {casts} casts inserted", f"{len(decode)} nodes that decode boxes left in float"]
    return {"changes": changes, "in_float": wide, "operators": operator_counts(halved)}
