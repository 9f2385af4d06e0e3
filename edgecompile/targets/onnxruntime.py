"""ONNX Runtime on the CPU: x86-64 with and without VNNI, and arm64."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.quantization.steps import add_static
from edgecompile.runtime.options import Options, OptionValue
from edgecompile.targets import Target
from edgecompile.targets._instruction_sets import VNNI, int8_remarks

if TYPE_CHECKING:
    from edgecompile.passes.int8_static import Int8Static
    from edgecompile.quantization.qdq import Placement

OPERATORS = (
    "Add", "AveragePool", "Concat", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul",
    "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Softmax", "Split", "Transpose",
)  # fmt: skip
"""Operators that ONNX Runtime's CPU provider computes in 8 bits, or that only move numbers. Any other between two of
them would cost a conversion to float and back."""


LEVELS = {"none": "ORT_DISABLE_ALL", "basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED"}
"""Levels of ONNX Runtime below its own choice."""


class OnnxRuntime(Target):
    """A CPU that runs ONNX with ONNX Runtime.

    Q/DQ profile (measured, see README): uint8 activations and int8 weights, which its kernels fuse. Signed activations
    are three times slower on x86.

    Fields:
        graph_level: how far ONNX Runtime rewrites the graph when it opens it: "basic" folds constants and removes what
            has no effect, "extended" fuses too, "all" changes layouts to those of this CPU.
        gelu_approximation: whether GELU is computed by its approximation with tanh, which gives other numbers.
        spinning: whether threads wait for work in a loop. On a device of its own that is quicker by a quarter; beside
            other work it halves the speed, and it costs power.
    """

    kind: Literal["onnxruntime"] = "onnxruntime"
    precisions: tuple[Literal["fp32", "fp16", "bf16", "int8"], ...] = ("fp32", "int8")
    # Locks of before there were these open as they are.
    graph_level: Literal["none", "basic", "extended", "all"] = Field(default="all", exclude_if=lambda one: one == "all")
    gelu_approximation: bool = Field(default=False, exclude_if=lambda switch: not switch)
    spinning: bool = Field(default=True, exclude_if=bool)

    backend: ClassVar[str] = "onnxruntime"
    opens_onnx: ClassVar[bool] = True
    runtime: ClassVar[tuple[str, str]] = ("onnxruntime", ">=1.19,<2")
    dynamic: ClassVar[frozenset[str]] = frozenset({"batch", "imgsz"})
    dynamic_int8: ClassVar[bool] = True
    int8_gain: ClassVar[float] = 2.0  # YOLO11n, 320 px, x86 with VNNI: docs/figures.md
    embeds_inputs: ClassVar[bool] = True
    embeds: ClassVar[frozenset[str]] = frozenset({"yolo", "rotated", "end2end"})

    @property
    def _has_vnni(self) -> bool:
        return bool(VNNI & set(self.isa))

    @property
    def _weight_bits(self) -> int:
        return 7 if self.arch == "x86_64" and not self._has_vnni else 8

    def options(self) -> Options:
        """Returns what differs from ONNX Runtime's own choices."""
        chosen: dict[str, OptionValue] = {}
        if self.graph_level != "all":
            chosen["graph_optimization_level"] = LEVELS[self.graph_level]
        if self.gelu_approximation:
            chosen["optimization.enable_gelu_approximation"] = "1"
        if not self.spinning:
            chosen["session.intra_op.allow_spinning"] = "0"
        return chosen

    def quantize(self, graph: Graph, model: Model, settings: Int8Static) -> Model:
        about = f"Q/DQ, uint8 activations, {self._weight_bits}-bit weights"
        quantized = add_static(graph, model, settings, self.placement(settings), about)
        if settings.symmetric is True and self.arch == "x86_64":
            graph.note("symmetric activations are signed: ONNX Runtime runs them about three times slower on x86")
        return quantized

    def simulated_placement(self, settings: Int8Static) -> Placement:
        return self.placement(settings)

    def placement(self, settings: Int8Static) -> Placement:
        """Returns the Q/DQ profile of this CPU."""
        symmetric = settings.symmetric is True
        return {
            "activations": "int8" if symmetric else "uint8",
            "symmetric": symmetric,
            "per_channel": settings.per_channel,
            "reduce_range": self._weight_bits == 7,
            "quantize_bias": True,
            "pair_on_weights": False,
            "dedicated_pairs": False,
            "operators": list(OPERATORS),
        }

    def compile(self, graph: Graph, model: Model) -> Model:
        graph.add(
            Step(
                name="compile",
                function="edgecompile.graphs.onnx.onnx_artifact:compile_onnx",
                version=2,
                stage=Stage.COMPILATION,
                inputs={"model": model.artifact, "spec": model.spec},
                tools=("onnxruntime", "onnx", "numpy"),
                isa=True,
                about="ONNX that takes uint8 NHWC BGR pictures",
            )
        )
        return model.with_(artifact=Output("compile", "model.onnx"), spec=Output("compile", "spec.json"))

    def warnings(self, precision: str) -> list[str]:
        remarks = int8_remarks(self) if precision == "int8" else []
        if precision == "int8" and self.graph_level in ("none", "basic"):
            remarks.append(
                f"graph_level: {self.graph_level} leaves Q/DQ pairs apart from their operators, which then compute in "
                "float: INT8 takes more time than float"
            )
        if precision == "fp16":
            remarks.append(f"FP16 halves the file but is slower than float on {self.device}: its CPU computes in float")
        return remarks
