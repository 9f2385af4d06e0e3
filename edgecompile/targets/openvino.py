"""OpenVINO on the CPU. INT8 through NNCF on OpenVINO's own graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.targets import Target

if TYPE_CHECKING:
    from edgecompile.passes.int8_static import Int8Static

VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Instruction sets that add four products of 8 bits into 32 bits without overflow between."""
QUICK = VNNI | {"avx2"}
"""Instruction sets on which INT8 pays; on a Zen 3, which has AVX2 only, it is 1.6 times as fast as float."""
WITHOUT_AMX = "AVX512_CORE_FP16"
"""The widest instruction set of oneDNN without AMX. On a CPU that has AMX, oneDNN would take it, and there an
activation that is fused into an INT8 convolution is computed apart, at 7 of 10 ms for YOLO11n."""


class OpenVino(Target):
    """A CPU that runs OpenVINO IR.

    Fields:
        inference_precision: what floating point operations are computed in. OpenVINO by itself takes bf16 on some
            Xeons and f16 on Arm, and so another result on another machine: it is pinned.
    """

    kind: Literal["openvino"] = "openvino"
    precisions: tuple[Literal["fp32", "fp16", "int8"], ...] = ("fp32", "fp16", "int8")
    inference_precision: Literal["f32", "f16", "bf16"] = "f32"

    backend: ClassVar[str] = "openvino"
    runtime: ClassVar[tuple[str, str]] = ("openvino", ">=2024.6,<2027")
    fp16_in_graph: ClassVar[bool] = False
    dynamic: ClassVar[frozenset[str]] = frozenset({"batch", "imgsz"})

    def options(self) -> dict[str, Any]:
        chosen = {"INFERENCE_PRECISION_HINT": self.inference_precision}
        return {**chosen, "ONEDNN_MAX_CPU_ISA": WITHOUT_AMX} if self._shuns_amx else chosen

    @property
    def _shuns_amx(self) -> bool:
        return self.arch == "x86_64" and "amx_int8" not in self.isa

    def quantize(self, graph: Graph, model: Model, settings: Int8Static) -> Model:
        graph.add(
            Step(
                name="quantization",
                function="edgecompile.quantization.nncf:quantize",
                stage=Stage.QUANTIZATION,
                params={
                    "method": settings.method,
                    "percentile": settings.percentile,
                    "per_channel": settings.per_channel,
                    "symmetric": settings.symmetric,
                    "exclude": settings.excluded(),
                },
                inputs={"model": model.artifact, "spec": model.spec, "pictures": graph.materials.calibration},
                tools=("nncf", "openvino", "numpy", "opencv-python-headless"),
                isa=True,
                memory_mb=1500,
                about=f"NNCF calibrates ({settings.method}) and quantizes OpenVINO's graph",
            )
        )
        return model.with_(artifact=Output("quantization"), format="openvino", precision="int8")

    def compile(self, graph: Graph, model: Model) -> Model:
        separate = model.precision == "int8" and "amx_int8" in self.isa
        graph.add(
            Step(
                name="compile",
                function="edgecompile.openvino_graph.compile:compile_ir",
                stage=Stage.COMPILATION,
                params={"half": model.precision == "fp16", "separate_silu": separate},
                inputs={"model": model.artifact, "spec": model.spec},
                tools=("openvino", "numpy"),
                isa=True,
                memory_mb=700,
                about="OpenVINO IR that takes uint8 NHWC BGR pictures",
            )
        )
        return model.with_(artifact=Output("compile"), spec=Output("compile", "spec.json"), format="openvino")

    def warnings(self, precision: str) -> list[str]:
        found = []
        if precision == "int8" and self.arch == "x86_64" and not QUICK & set(self.isa):
            found.append(
                f"INT8 gains little on {self.device}: its instruction set lists neither AVX2 nor VNNI "
                f"(isa: {list(self.isa)})"
            )
        if precision == "fp16" and self.arch == "x86_64" and self.inference_precision == "f32":
            found.append(
                f"FP16 halves the file but not the time on {self.device}: weights are widened, sums are in float"
            )
        return found
