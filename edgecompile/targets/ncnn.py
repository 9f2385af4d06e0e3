"""ncnn on the CPU: made for Arm, runs on x86-64 too, and so is validated by the very library that the device runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from edgecompile.errors import PlanError
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.runtime.options import Options
from edgecompile.targets import Target
from edgecompile.targets._instruction_sets import int8_remarks

if TYPE_CHECKING:
    from edgecompile.passes.int8_static import Int8Static
    from edgecompile.quantization.qdq import Placement

HALF_ARITHMETIC = "asimdhp"
"""Instruction set that computes in FP16: Armv8.2 and later (Cortex-A76), not Armv8.0 (Cortex-A72)."""


class Ncnn(Target):
    """A CPU that runs ncnn.

    Fields:
        inference_precision: what floating point operations are computed in. ncnn by itself takes FP16 where the CPU has
            it, and so another result on another machine: it is pinned. "f16" is quicker on a CPU with `asimdhp`; it
            moved boxes of YOLO11n at 320 pixels by up to 1.8 pixels under emulation of a Cortex-A76.
    """

    kind: Literal["ncnn"] = "ncnn"
    arch: Literal["x86_64", "aarch64"] = "aarch64"
    precisions: tuple[Literal["fp32", "fp16", "int8"], ...] = ("fp32", "fp16", "int8")
    inference_precision: Literal["f32", "f16"] = "f32"

    backend: ClassVar[str] = "ncnn"
    runtime: ClassVar[tuple[str, str]] = ("ncnn", ">=1.0.20250503,<2")
    fp16_in_graph: ClassVar[bool] = False
    keeps_float: ClassVar[bool] = False
    fp16_fix: ClassVar[str] = "set target.inference_precision: f32"
    why_no_pairs: ClassVar[str] = "ncnn has no layers for them, and quantizes by tables of its own"
    why_not_embedded: ClassVar[str] = "ncnn has no non-maximum suppression of YOLO's outputs"

    def options(self) -> Options:
        half = self.inference_precision == "f16"
        return dict.fromkeys(("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"), half)

    def computes_fp16(self, precision: str) -> bool:
        return self.inference_precision == "f16"

    def quantize(self, graph: Graph, model: Model, settings: Int8Static) -> Model:
        if settings.method == "entropy":
            raise PlanError("ncnn's ranges follow from all values or their rarest cut off", fix="method: percentile")
        if settings.symmetric is False:
            raise PlanError("ncnn knows symmetric INT8 only", fix="symmetric: auto")
        converted = self._converted(graph, model, half=False)
        source = {"source": model.artifact} if settings.keep_float else {}
        graph.add(
            Step(
                name="calibration",
                function="edgecompile.quantization.ncnn_int8:calibrate",
                stage=Stage.CALIBRATION,
                params={"method": settings.method, "percentile": settings.percentile},
                inputs={
                    "model": converted.artifact,
                    "spec": converted.spec,
                    "pictures": graph.calibration,
                },
                tools=("ncnn", "numpy", "opencv-python-headless"),
                isa=True,
                memory_mb=700,
                about=f"ranges of what convolutions read, {settings.method}",
            )
        )
        graph.add(
            Step(
                name="quantization",
                version=2,
                function="edgecompile.quantization.ncnn_int8:quantize",
                stage=Stage.QUANTIZATION,
                params={"per_channel": settings.per_channel, **settings.left_in_float()},
                inputs={"model": converted.artifact, "ranges": Output("calibration", "ranges.json"), **source},
                tools=("numpy", "onnx") if source else ("numpy",),
                memory_mb=300,
                about="convolutions in ncnn's symmetric INT8, weights by output channel",
            )
        )
        return converted.with_(artifact=Output("quantization"), precision="int8")

    def simulated_placement(self, settings: Int8Static) -> Placement:
        """Returns ncnn's own INT8 as pairs: signed ranges before convolutions alone."""
        return {
            "activations": "int8",
            "symmetric": True,
            "per_channel": settings.per_channel,
            "reduce_range": False,
            "quantize_bias": False,
            "pair_on_weights": False,
            "dedicated_pairs": False,
            "operators": ["Conv"],
            "inputs_only": True,
            "learned_only": True,
            "ends_in_float": True,
            "others_in_float": True,
        }

    def compile(self, graph: Graph, model: Model) -> Model:
        if model.format == "ncnn":  # INT8 was made of ncnn's own layers
            return model
        return self._converted(graph, model, half=model.precision == "fp16")

    def _converted(self, graph: Graph, model: Model, *, half: bool) -> Model:
        graph.add(
            Step(
                name="compile",
                function="edgecompile.graphs.ncnn.ncnn_artifact:compile_ncnn",
                stage=Stage.COMPILATION,
                params={"half": half},
                inputs={"model": model.artifact, "spec": model.spec},
                tools=("pnnx", "ncnn", "onnxruntime", "onnx", "numpy"),
                isa=True,
                memory_mb=600,
                about="ONNX to ncnn's layers and weights, by pnnx",
            )
        )
        return model.with_(artifact=Output("compile"), spec=Output("compile", "spec.json"), format="ncnn")

    def warnings(self, precision: str) -> list[str]:
        remarks = []
        if self.inference_precision == "f16" and HALF_ARITHMETIC not in self.isa:
            remarks.append(
                f"{self.device} has no FP16 arithmetic (isa: {list(self.isa)}): inference_precision f16 saves no time"
            )
        elif self.inference_precision == "f16" and self.arch == "aarch64":
            remarks.append(
                "floating point is computed in FP16 on the device and in float on this machine: confirm accuracy there"
            )
        if precision == "int8" and self.arch == "aarch64":
            remarks += int8_remarks(self)
        if precision == "fp16" and self.inference_precision == "f32":
            remarks.append(f"FP16 halves the file but not the time on {self.device}: sums are in float")
        return remarks
