"""Intel Neural Compute Stick 2 (Movidius Myriad X), on the USB port of a Raspberry Pi or any computer. Legacy.

OpenVINO 2022.3 is the last that has its plugin, MYRIAD. The stick computes in FP16 and takes static shapes. It cannot
be here, and neither can its plugin, which is in no package: OpenVINO's CPU plugin stands in for both.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from edgecompile.errors import PlanError
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.runtime.backends import openvino
from edgecompile.runtime.options import Options
from edgecompile.targets import ProxyBackend, Target

WITHOUT_OPERATIONS = {"obb": "the sine and cosine by which rotated boxes are decoded"}
"""Tasks to what the stick would need for them; `edgecompile.graphs.openvino.legacy_ir` knows its operations."""


class Ncs2(Target):
    """The Neural Compute Stick 2 with OpenVINO 2022.3.

    Fields:
        instead: what a new design should use in place of the stick; said in each plan.
    """

    kind: Literal["ncs2"] = "ncs2"
    precisions: tuple[Literal["fp16"], ...] = ("fp16",)
    instead: str = ""

    backend: ClassVar[str] = "openvino"
    runtime: ClassVar[tuple[str, str]] = ("openvino", ">=2022.3,<2023")
    fp16_in_graph: ClassVar[bool] = False
    keeps_float: ClassVar[bool] = False
    why_not_embedded: ClassVar[str] = "the stick knows no results of another size for each picture"
    fp16_fix: ClassVar[str] = "rescale these layers in the model: the stick computes in FP16 only"

    def options(self) -> Options:
        return {"DEVICE": "MYRIAD"}

    def computes_fp16(self, precision: str) -> bool:
        return True

    def proxy_backend(self) -> ProxyBackend:
        return ProxyBackend("openvino", "openvino", openvino.Backend.stand_in_options)

    def quantize(self, graph: Graph, model: Model, settings: Any) -> Model:
        raise PlanError(f"{self.device} computes in FP16 and has no INT8", fix="use the pass fp16")

    def compile(self, graph: Graph, model: Model) -> Model:
        if model.precision != "fp16":
            raise PlanError(f"{self.device} computes in FP16 only", fix="add the pass fp16")
        if graph.task in WITHOUT_OPERATIONS:
            raise PlanError(f"{self.device} does not run {WITHOUT_OPERATIONS[graph.task]}")
        graph.add(
            Step(
                name="compile",
                function="edgecompile.graphs.openvino.ir_artifact:compile_ir",
                stage=Stage.COMPILATION,
                params={"half": True, "separate_silu": False},
                inputs={"model": model.artifact, "spec": model.spec},
                tools=("openvino", "numpy"),
                isa=True,
                memory_mb=700,
                about="OpenVINO IR that takes uint8 NHWC BGR pictures",
            )
        )
        graph.add(
            Step(
                name="legacy",
                function="edgecompile.graphs.openvino.legacy_ir:compile_legacy",
                stage=Stage.COMPILATION,
                inputs={"model": Output("compile"), "spec": Output("compile", "spec.json")},
                tools=("openvino", "numpy"),
                isa=True,
                memory_mb=700,
                about="operations that OpenVINO 2022.3 reads and the stick runs",
            )
        )
        return model.with_(artifact=Output("legacy"), spec=Output("legacy", "spec.json"), format="openvino")

    def warnings(self, precision: str) -> list[str]:
        legacy = f"{self.device} is end-of-life: OpenVINO 2022.3 was the last to support it, without fixes since"
        return [f"{legacy}; use instead: {self.instead}" if self.instead else legacy]
