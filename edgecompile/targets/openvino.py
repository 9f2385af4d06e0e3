"""OpenVINO on a CPU, an Intel GPU or NPU. INT8 through NNCF on OpenVINO's own graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.runtime.backends._openvino_knobs import BF16, PRECISION
from edgecompile.runtime.backends.openvino import DEVICE_NAME, STREAMS
from edgecompile.runtime.options import Options, OptionValue
from edgecompile.targets import ProxyBackend, Target
from edgecompile.targets._instruction_sets import int8_remarks

if TYPE_CHECKING:
    from edgecompile.passes.int8_static import Int8Static
    from edgecompile.quantization.qdq import Placement

WITHOUT_AMX = "AVX512_CORE_FP16"
"""The widest instruction set of oneDNN without AMX. On a CPU that has AMX, oneDNN would take it, and there an
activation that is fused into an INT8 convolution is computed apart, at 7 of 10 ms for YOLO11n."""


REFERENCE_PRECISION = "f32"
"""What a CPU computes floating point in, where it stands in for another device or is one of several."""


SCHEDULING = {
    "hyper_threading": "ENABLE_HYPER_THREADING",
    "core_type": "SCHEDULING_CORE_TYPE",
    "cpu_pinning": "ENABLE_CPU_PINNING",
}
"""Fields that say how a CPU is used, to OpenVINO's properties."""
CORES = {"performance": "PCORE_ONLY", "efficiency": "ECORE_ONLY"}


class OpenVino(Target):
    """A device that runs OpenVINO IR: any CPU, and Intel's integrated GPUs and NPUs.

    On a device that is not a CPU, accuracy and golden vectors come from OpenVINO on the CPU of the machine that builds;
    the device proves itself by them (`edgecompile verify`). One quantized model serves all: NNCF places 8 bits on a GPU
    and an NPU as on a CPU.

    Fields:
        device_name: OpenVINO's name of the device: CPU, GPU, GPU.1, NPU, or AUTO:GPU,CPU, which takes the first of
            these that the machine has.
        hint: what the device is set up for: "latency" of one picture, or "throughput" of a stream of them.
        inference_precision: what floating point operations are computed in. OpenVINO by itself takes bf16 on some
            Xeons and f16 on Arm, and so another result on another machine: it is pinned. Of several devices, a CPU
            computes in f32 whatever this says.
        num_streams: inferences that each device runs at a time; null for what the hint makes of it.
        hyper_threading: whether a CPU runs two threads on a core; null for what the hint makes of it.
        core_type: which cores of a CPU with cores of two kinds run the model: "any", "performance" or "efficiency".
        cpu_pinning: whether threads stay on their core; null for OpenVINO's choice.
    """

    kind: Literal["openvino"] = "openvino"
    precisions: tuple[Literal["fp32", "fp16", "bf16", "int8"], ...] = ("fp32", "fp16", "int8")
    device_name: str = Field(default="CPU", pattern=rf"^{DEVICE_NAME}$")
    hint: Literal["latency", "throughput"] = "latency"
    inference_precision: Literal["f32", "f16", "bf16"] = "f32"
    num_streams: int | None = Field(default=None, ge=STREAMS.low, le=STREAMS.high)
    hyper_threading: bool | None = None
    core_type: Literal["any", "performance", "efficiency"] = Field(default="any", exclude_if=lambda kind: kind == "any")
    cpu_pinning: bool | None = None

    backend: ClassVar[str] = "openvino"
    opens_onnx: ClassVar[bool] = True
    runtime: ClassVar[tuple[str, str]] = ("openvino", ">=2024.6,<2027")
    fp16_in_graph: ClassVar[bool] = False
    keeps_float: ClassVar[bool] = False
    int8_gain: ClassVar[float] = 2.3  # YOLO11n, 320 px, x86 with VNNI: docs/figures.md
    embeds_inputs: ClassVar[bool] = True

    @model_validator(mode="after")
    def _bf16_is_of_a_cpu_that_has_it(self) -> OpenVino:
        if "bf16" in self.precisions and (self._family != "CPU" or not BF16 & set(self.isa)):
            raise ValueError(f"precisions: bf16 takes a CPU whose isa lists {', '.join(sorted(BF16))}")
        return self

    @model_validator(mode="after")
    def _cpu_settings_are_of_a_cpu(self) -> OpenVino:
        if "CPU" not in self.device_name and (named := list(self._scheduling())):
            fields = ", ".join(field for field, name in SCHEDULING.items() if name in named)
            raise ValueError(f"{fields}: says how a CPU is used, and device_name is {self.device_name}")
        return self

    def options(self) -> Options:
        chosen: dict[str, OptionValue] = {"DEVICE": self.device_name, "PERFORMANCE_HINT": self.hint.upper()}
        if self._family == "AUTO":
            names = self.device_name.partition(":")[2].split(",")
            chosen["DEVICE_PROPERTIES"] = {name: self._of_device(name) for name in names}
            chosen["ENABLE_STARTUP_FALLBACK"] = False  # what is verified is the device that will run, not its helper
        else:
            chosen |= self._of_device(self._family)
        return {**chosen, **self._cpu_kernels()} if "CPU" in self.device_name else chosen

    def options_for(self, precision: str) -> Options:
        return {**self.options(), PRECISION: "bf16"} if precision == "bf16" else self.options()

    @property
    def rounds_to_bf16(self) -> bool:
        return True

    def _of_device(self, name: str) -> Options:
        """Returns the properties of one device."""
        in_auto = self._family == "AUTO"
        precision = REFERENCE_PRECISION if in_auto and name == "CPU" else self.inference_precision
        chosen: dict[str, OptionValue] = {"INFERENCE_PRECISION_HINT": precision}
        if self.num_streams is not None:
            chosen["NUM_STREAMS"] = self.num_streams
        return {**chosen, **self._scheduling()} if name == "CPU" else chosen

    def _scheduling(self) -> Options:
        """Returns the properties of a CPU on which cores it uses: those that differ from OpenVINO's own choice."""
        asked: dict[str, OptionValue | None] = {
            "hyper_threading": self.hyper_threading,
            "core_type": CORES.get(self.core_type),
            "cpu_pinning": self.cpu_pinning,
        }
        return {SCHEDULING[field]: value for field, value in asked.items() if value is not None}

    def proxy_backend(self) -> ProxyBackend | None:
        if self._family == "CPU":
            return None
        options = {"DEVICE": "CPU", "INFERENCE_PRECISION_HINT": REFERENCE_PRECISION, **self._cpu_kernels()}
        return ProxyBackend(self.backend, self.runtime[0], options)

    @property
    def fp16_fix(self) -> str:  # type: ignore[override]
        only = "NPU" in self.device_name
        return (
            "rescale these layers in the model: an NPU computes in FP16 only"
            if only
            else ("set target.inference_precision: f32")
        )

    def computes_fp16(self, precision: str) -> bool:
        return self.inference_precision == "f16" or "NPU" in self.device_name

    @property
    def float_beside_int8(self) -> str:
        return "bf16" if self.inference_precision == "bf16" else super().float_beside_int8

    @property
    def dynamic(self) -> frozenset[str]:  # type: ignore[override]  # an NPU compiles for one shape
        return frozenset() if "NPU" in self.device_name else frozenset({"batch", "imgsz"})

    @property
    def embeds(self) -> frozenset[str]:  # type: ignore[override]  # an NPU knows no outputs whose size follows from numbers
        if "NPU" in self.device_name:
            return frozenset()
        return frozenset({"yolo", "end2end", *(["rotated"] if self._family == "CPU" else [])})

    @property
    def why_not_embedded(self) -> str:  # type: ignore[override]
        if "NPU" in self.device_name:
            return "an NPU runs no suppression, whose result has another size for each picture"
        return "the suppression of rotated boxes is proven on CPUs"

    @property
    def _family(self) -> str:
        """CPU, GPU, NPU or AUTO."""
        return self.device_name.replace(":", ".").partition(".")[0]

    def _cpu_kernels(self) -> Options:
        """Returns how oneDNN's kernels are held to the instruction set of the target."""
        uses_amx = "amx_int8" in self.isa
        return {"ONEDNN_MAX_CPU_ISA": WITHOUT_AMX} if self.arch == "x86_64" and not uses_amx else {}

    def quantize(self, graph: Graph, model: Model, settings: Int8Static) -> Model:
        graph.add(
            Step(
                name="quantization",
                function="edgecompile.quantization.nncf:quantize",
                version=2,
                stage=Stage.QUANTIZATION,
                params={
                    "method": settings.method,
                    "percentile": settings.percentile,
                    "per_channel": settings.per_channel,
                    "symmetric": settings.symmetric,
                    **settings.left_in_float(),
                },
                inputs={"model": model.artifact, "spec": model.spec, "pictures": graph.calibration},
                tools=("nncf", "openvino", "numpy", "opencv-python-headless"),
                isa=True,
                memory_mb=1500,
                about=f"NNCF calibrates ({settings.method}) and quantizes OpenVINO's graph",
            )
        )
        return model.with_(artifact=Output("quantization"), format="openvino", precision="int8")

    def simulated_placement(self, settings: Int8Static) -> Placement:
        """Returns what NNCF's placement comes to: unsigned ranges before layers with weights, products and sums."""
        return {
            "activations": "uint8",
            "symmetric": settings.symmetric is True,
            "per_channel": settings.per_channel,
            "reduce_range": False,
            "quantize_bias": False,
            "pair_on_weights": False,
            "dedicated_pairs": False,
            "operators": ["Add", "Conv", "ConvTranspose", "Gemm", "MatMul"],
            "inputs_only": True,
            "others_in_float": True,
        }

    def compile(self, graph: Graph, model: Model) -> Model:
        separate = model.precision == "int8" and "amx_int8" in self.isa
        graph.add(
            Step(
                name="compile",
                function="edgecompile.graphs.openvino.ir_artifact:compile_ir",
                stage=Stage.COMPILATION,
                params={
                    "half": model.precision == "fp16",
                    "separate_silu": separate,
                    **({"brain": True} if model.precision == "bf16" else {}),
                },
                inputs={"model": model.artifact, "spec": model.spec},
                tools=("openvino", "numpy"),
                isa=True,
                memory_mb=700,
                about="OpenVINO IR that takes uint8 NHWC BGR pictures",
            )
        )
        return model.with_(artifact=Output("compile"), spec=Output("compile", "spec.json"), format="openvino")

    def warnings(self, precision: str) -> list[str]:
        on_cpu = self._family == "CPU"
        remarks = int8_remarks(self) if precision == "int8" and on_cpu else []
        if precision == "fp16" and on_cpu and self.arch == "x86_64" and self.inference_precision == "f32":
            remarks.append(
                f"FP16 halves the file but not the time on {self.device}: weights are widened, sums are in float"
            )
        if precision == "fp32" and self.inference_precision != "f32":
            remarks.append(
                f"{self.device} computes in {self.inference_precision}: its outputs differ from those of the float "
                "model by more than the tolerance of float; add the pass fp16, or set target.inference_precision: f32"
            )
        return remarks
