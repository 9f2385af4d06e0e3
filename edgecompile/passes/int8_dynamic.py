"""Dynamic INT8: weights in 8 bits, activations quantized again at every run. For models of matrix products only."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from edgecompile.errors import PlanError
from edgecompile.passes import Pass
from edgecompile.plan.facts import GraphFacts
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step

WHY_NOT = (
    "dynamic INT8 makes convolution nets 3 to 9 times slower than float (the ranges of every activation are measured "
    "again in each run, and its integer convolution is slow)"
)


class Int8Dynamic(Pass):
    """Quantizes the weights of matrix products; needs no calibration pictures.

    Fields:
        per_channel: whether each output channel of a weight has a scale of its own.
        convolution_share: largest share of the learned weights that may be in convolutions, 0..1.
    """

    stage: ClassVar[Stage] = Stage.QUANTIZATION
    output_precision: ClassVar[str] = "int8"
    calibrates: ClassVar[bool] = False

    per_channel: bool = True
    convolution_share: float = Field(default=0.2, ge=0, le=1)

    def lower(self, graph: Graph, model: Model | None) -> Model:
        if model is None or model.precision != "fp32" or model.format != "onnx":
            raise PlanError("'int8_dynamic' works on a float ONNX model: put it after the export, alone of its kind")
        if any(path.endswith(".pt") for path in graph.materials.weights.paths):
            raise PlanError(f"a YOLO checkpoint is a convolution net: {WHY_NOT}", fix="use the pass 'int8_static'")
        if not graph.target.dynamic_int8:
            raise PlanError(f"{graph.target.kind} has no dynamic INT8", fix="use the pass 'int8_static'")
        graph.add(
            Step(
                name="int8_dynamic",
                function="edgecompile.passes.int8_dynamic:quantize",
                stage=Stage.QUANTIZATION,
                params=self.model_dump(),
                inputs={"model": model.artifact},
                tools=("onnxruntime", "onnx", "numpy"),
                about="matrix products with int8 weights",
            )
        )
        return model.with_(artifact=Output("int8_dynamic", "model.onnx"), precision="int8")


def quantize(out: Path, *, model: Path, per_channel: bool, convolution_share: float) -> GraphFacts:
    """Writes `model.onnx` with int8 weights in its matrix products.

    Raises:
        StepError: when the model is a convolution net, or has no matrix product with learned weights.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from edgecompile.errors import StepError
    from edgecompile.graphs.onnx.serialization import load, operator_counts, save, sort_nodes
    from edgecompile.graphs.onnx.structure import Structure, name_nodes, parameter_shares

    graph = load(model)
    shares = parameter_shares(Structure(graph))
    total = sum(shares.values())
    convolutions = shares.get("Conv", 0) + shares.get("ConvTranspose", 0)
    if not total or convolutions > convolution_share * total:
        percent = 100 * convolutions / total if total else 100
        raise StepError(
            f"{percent:.0f} % of the weights are in convolutions: {WHY_NOT}", fix="use the pass 'int8_static'"
        )
    name_nodes(graph.graph.node)
    plain = out / "model.onnx"
    quantize_dynamic(
        graph,
        plain,
        op_types_to_quantize=["Gemm", "MatMul"],
        per_channel=per_channel,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    quantized = load(plain)
    save(sort_nodes(quantized), plain)
    counts = operator_counts(quantized)
    return {"changes": [f"{counts.get('MatMulInteger', 0)} matrix products in INT8"], "operators": counts}
