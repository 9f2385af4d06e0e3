"""Folds constants, removes dead nodes and fuses operators, and says, operator by operator, what changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, TypedDict

from pydantic import model_validator

from edgecompile.errors import PlanError
from edgecompile.evaluate.tasks import Gaps
from edgecompile.passes import Pass
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step

OPTIMIZATIONS = {
    "constant_folding": ("constant_folding",),
    "operator_fusion": ("graph_fusion",),
    "dead_code_elimination": ("dead_node_elimination", "subexpression_elimination", "weight_tying"),
}
"""Field of the pass -> the optimizations of onnxslim behind it, in the order in which they run."""


class Simplify(Pass):
    """Simplifies the ONNX graph without changing what it computes.

    Fields:
        constant_folding: computes what depends on no input.
        operator_fusion: folds batch normalisation, additions, multiplications and paddings into convolutions, merges
            chains of reshapes, transposes, slices and concatenations.
        dead_code_elimination: removes what reaches no output or is computed twice, and stores equal weights once.
    """

    stage: ClassVar[Stage] = Stage.FUSION

    constant_folding: bool = True
    operator_fusion: bool = True
    dead_code_elimination: bool = True

    @model_validator(mode="after")
    def _does_something(self) -> Simplify:
        if not any(self.model_dump().values()):
            raise ValueError("every optimization is switched off; leave the pass out instead: set it to null")
        return self

    def lower(self, graph: Graph, model: Model | None) -> Model:
        if model is not None and model.precision == "int8" and model.artifact.step == "onnx_import":
            raise PlanError(
                "'simplify': the imported model holds Q/DQ pairs: it is judged and packed as it is",
                fix="passes.simplify=null",
            )
        if model is None or model.format != "onnx" or model.precision != "fp32":
            raise PlanError("'simplify' works on a float ONNX graph: put it after the export and before quantization")
        graph.add(
            Step(
                name="simplify",
                function="edgecompile.passes.simplify:simplify",
                stage=Stage.FUSION,
                params={"optimizations": [name for name, enabled in self.model_dump().items() if enabled]},
                inputs={"model": model.artifact, "spec": model.spec},
                tools=("onnx", "onnxslim", "onnxruntime", "numpy"),
                isa=True,
                memory_mb=700,
                about="constant folding, operator fusion, dead code elimination",
            )
        )
        return model.with_(artifact=Output("simplify", "model.onnx"))


class SimplifyFacts(TypedDict):
    """What the step returns: what was done, operators before and after, and how far the outputs moved."""

    changes: list[str]
    operators: dict[str, dict[str, int]]
    max_abs_diff: Gaps


def simplify(out: Path, *, model: Path, spec: Path, optimizations: list[str]) -> SimplifyFacts:
    """Writes the simplified `model.onnx`, proven to compute the same on a fixed input.

    Raises:
        StepError: when the outputs change by more than rounding explains.
    """
    import onnxslim

    from edgecompile.graphs.onnx.agreement import fixed_input, largest, require_agreement, run
    from edgecompile.graphs.onnx.model_spec import read_spec, shapes_of
    from edgecompile.graphs.onnx.serialization import load, operator_counts, save

    original, graph, changes = load(model), load(model), []  # two copies: the simplifier may change what it is given
    fused_before = _normalised_convolutions(original)
    for name in (name for name in OPTIMIZATIONS if name in optimizations):
        before = operator_counts(graph)
        kept = {optimization for names in OPTIMIZATIONS.values() for optimization in names} - set(OPTIMIZATIONS[name])
        graph = onnxslim.slim(graph, skip_optimizations=sorted(kept))
        changes.append(f"{name.replace('_', ' ')}: {_difference(before, operator_counts(graph))}")
    if "operator_fusion" in optimizations:
        changes.append(_on_convolutions(original, fused_before, _normalised_convolutions(graph)))

    read = read_spec(spec)
    before_bytes, after_bytes = original.SerializeToString(), graph.SerializeToString()
    proof: dict[str, float] = {}
    for shape in shapes_of(read):
        picture = fixed_input(shape, shape[2:])
        outputs = run(before_bytes, picture), run(after_bytes, picture)
        proof = largest(proof, require_agreement(*outputs, read, shape[2:], "simplifying the graph"))
    save(graph, out / "model.onnx")
    counts = {"before": operator_counts(original), "after": operator_counts(graph)}
    return {"changes": changes, "operators": counts, "max_abs_diff": proof}


def _normalised_convolutions(model: Any) -> int:
    """Returns how many convolutions are followed by a batch normalisation of their own."""
    convolutions = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    return sum(node.op_type == "BatchNormalization" and node.input[0] in convolutions for node in model.graph.node)


def _on_convolutions(original: Any, before: int, after: int) -> str:
    total = sum(node.op_type == "Conv" for node in original.graph.node)
    reason = "" if before else ": no BatchNormalization left"
    return f"{before - after} of {total} convolutions fused with their batch normalisation{reason}"


def _difference(before: dict[str, int], after: dict[str, int]) -> str:
    """Returns what was removed and added, as in "-29 Constant, -1 Shape"; or why there is nothing to say."""

    def gaps() -> Iterator[str]:
        for operator in sorted(before.keys() | after.keys()):
            if gap := after.get(operator, 0) - before.get(operator, 0):
                yield f"{gap:+d} {operator}"

    return ", ".join(gaps()) or "nothing matched"
