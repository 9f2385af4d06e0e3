"""LiteRT (TensorFlow Lite) on the CPU, by XNNPACK: Android, Raspberry Pi and x86-64, with the same file."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from edgecompile.graphs.litert.int8_operators import INT8
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.quantization.steps import add_static
from edgecompile.targets import Target
from edgecompile.targets._instruction_sets import int8_remarks

if TYPE_CHECKING:
    from edgecompile.passes.int8_static import Int8Static
    from edgecompile.quantization.qdq import Placement


class LiteRt(Target):
    """A CPU that runs LiteRT.

    INT8 is written from Q/DQ pairs: signed activations of any zero point, weights by output channel, which XNNPACK's
    kernels take. The pairs are unsigned, as a picture's bytes are, and become signed with the same steps.
    """

    kind: Literal["litert"] = "litert"
    precisions: tuple[Literal["fp32", "fp16", "int8"], ...] = ("fp32", "fp16", "int8")

    backend: ClassVar[str] = "litert"
    runtime: ClassVar[tuple[str, str]] = ("ai-edge-litert", ">=2.1,<3")
    fp16_in_graph: ClassVar[bool] = False
    keeps_float: ClassVar[bool] = False
    why_not_embedded: ClassVar[str] = "LiteRT's Python package has no suppression of YOLO's outputs"

    def quantize(self, graph: Graph, model: Model, settings: Int8Static) -> Model:
        about = "Q/DQ that become LiteRT's INT8: activations by tensor, weights by output channel"
        return add_static(graph, model, settings, self.simulated_placement(settings), about)

    def simulated_placement(self, settings: Int8Static) -> Placement:
        symmetric = settings.symmetric is True
        return {
            "activations": "int8" if symmetric else "uint8",
            "symmetric": symmetric,
            "per_channel": settings.per_channel,
            "reduce_range": False,
            "quantize_bias": True,
            "pair_on_weights": False,
            "dedicated_pairs": False,
            "operators": sorted(INT8),
        }

    def compile(self, graph: Graph, model: Model) -> Model:
        graph.add(
            Step(
                name="compile",
                function="edgecompile.graphs.litert.litert_artifact:compile_litert",
                stage=Stage.COMPILATION,
                params={"half": model.precision == "fp16"},
                inputs={"model": model.artifact, "spec": model.spec},
                tools=("ai-edge-litert", "flatbuffers", "onnxruntime", "onnx", "numpy"),
                isa=True,
                memory_mb=600,
                about="ONNX to LiteRT's operators, channels last, takes uint8 NHWC BGR pictures",
            )
        )
        return model.with_(artifact=Output("compile"), spec=Output("compile", "spec.json"), format="litert")

    def warnings(self, precision: str) -> list[str]:
        remarks = []
        if precision == "int8":
            remarks += int8_remarks(self)
        if precision == "fp16":
            remarks.append(f"FP16 halves the file but not the time on {self.device}: sums are in float")
        return remarks
