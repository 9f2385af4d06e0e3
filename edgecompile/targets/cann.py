"""Huawei Ascend 310B and 310P: the bundle carries a static ONNX and `aipp.cfg`, `edgecompile finalize` runs ATC."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.quantization.steps import add_static
from edgecompile.runtime.backends import aipp
from edgecompile.targets import ProxyBackend, Target

if TYPE_CHECKING:
    from edgecompile.passes.int8_static import Int8Static
    from edgecompile.quantization.qdq import Placement

OPERATORS = ("Conv", "ConvTranspose")
"""What AMCT's `convert_qat_model` turns into INT8 with a scale for each channel. It also takes Gemm, and MatMul with
constant weights, with one scale for all channels; a detection model has none of them."""


class Cann(Target):
    """A board or card with an Ascend chip that runs CANN.

    Fields:
        soc: versions of the chip, as ATC names them, that the bundle is for; checked on the device.
    """

    kind: Literal["cann"] = "cann"
    precisions: tuple[Literal["fp32", "fp16", "int8"], ...] = ("fp16", "int8")
    soc: tuple[str, ...] = Field(min_length=1)

    backend: ClassVar[str] = "cann"
    runtime: ClassVar[tuple[str, str]] = ("cann-toolkit", ">=7")
    system_runtime: ClassVar[bool] = True  # Huawei's installer brings it; it is in no package index
    finalize: ClassVar[bool] = True
    keeps_float: ClassVar[bool] = False
    why_not_embedded: ClassVar[str] = "ATC is not here to show that it takes the operators"
    fp16_fix: ClassVar[str] = "rescale these layers in the model: Ascend computes in FP16 only"

    def computes_fp16(self, precision: str) -> bool:
        return True  # by default ATC turns what is in float into FP16

    def constraints(self) -> dict[str, str | list[str]]:
        return {"soc": list(self.soc)}

    def proxy_backend(self) -> ProxyBackend | None:
        return ProxyBackend("aipp", "onnxruntime", aipp.Backend.stand_in_options)

    def quantize(self, graph: Graph, model: Model, settings: Int8Static) -> Model:
        if settings.symmetric is False:
            graph.note("the pairs for AMCT are symmetric: 'symmetric: false' has no effect")
        about = "Q/DQ, symmetric int8, before convolutions and on their weights, as AMCT reads them"
        return add_static(graph, model, settings, self.placement(settings), about)

    def simulated_placement(self, settings: Int8Static) -> Placement:
        return self.placement(settings)

    def placement(self, settings: Int8Static) -> Placement:
        """Returns the Q/DQ profile of AMCT: every input and weight of a convolution has a pair of its own."""
        return {
            "activations": "int8",
            "symmetric": True,
            "per_channel": settings.per_channel,
            "reduce_range": False,
            "quantize_bias": False,
            "pair_on_weights": True,
            "dedicated_pairs": True,
            "operators": list(OPERATORS),
            "inputs_only": True,
            "ends_in_float": True,
            "others_in_float": True,
        }

    def compile(self, graph: Graph, model: Model) -> Model:
        graph.add(
            Step(
                name="compile",
                function="edgecompile.graphs.onnx.cann_onnx:compile_cann",
                stage=Stage.COMPILATION,
                inputs={"model": model.artifact, "spec": model.spec},
                tools=("onnxruntime", "onnx", "numpy"),
                isa=True,
                about="static ONNX, aipp.cfg and atc.sh; operators compared with CANN's list",
            )
        )
        return model.with_(artifact=Output("compile"), spec=Output("compile", "spec.json"))

    def warnings(self, precision: str) -> list[str]:
        remarks = [f"{self.device} was not at hand: what ATC makes of the model is verified by `edgecompile finalize`"]
        if precision == "int8":
            remarks.append(
                "the artifact holds weights in float before their Q/DQ pairs, as AMCT reads them, and is larger than "
                "the float model: INT8 weights are in the model that the device builds, whose size is not known here"
            )
        if precision == "fp32":
            remarks.append("Ascend computes convolutions in FP16: take the pass 'fp16' and have the same measured here")
        return remarks
