"""TensorRT on NVIDIA Jetson, and on PCs and servers: the bundle carries a strongly typed ONNX, `edgecompile finalize`
builds the engine there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypedDict

from pydantic import Field

from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Stage, Step
from edgecompile.runtime.backends.tensorrt import WORKSPACE, WORKSPACE_MB
from edgecompile.runtime.options import Options
from edgecompile.targets import ProxyBackend, Target
from edgecompile.targets._strongly_typed import (
    PROVER,
    PROXY_BACKEND,
    built_ahead,
    compile_typed,
    placement,
    quantize_signed,
)

if TYPE_CHECKING:
    from edgecompile.passes.int8_static import Int8Static
    from edgecompile.quantization.qdq import Placement

PROVEN_FOR = 86
"""Compute capability, times ten, that the ONNX is built for to prove it. TensorRT-RTX has none for Orin's own, 8.7; 8.6
is of the same architecture (Ampere)."""


Capability = Annotated[str, Field(pattern=r"^\d+\.\d$")]


class TensorRt(Target):
    """A Jetson, or a PC or server with an NVIDIA GPU (x86-64), that runs TensorRT.

    Fields:
        sm: compute capability of its GPU, or of each GPU that the bundle is for, checked there.
        workspace_mb: memory that TensorRT may use while it builds and runs, in MiB.
        dla: number of the deep learning accelerator that takes what it can, the GPU the rest; null for the GPU alone.
        driver: range of the versions of the driver that the bundle is for; on a Jetson, of Jetson Linux.
    """

    kind: Literal["tensorrt"] = "tensorrt"
    arch: Literal["x86_64", "aarch64"] = "aarch64"
    precisions: tuple[Literal["fp32", "fp16", "int8"], ...] = ("fp32", "fp16", "int8")
    sm: Capability | tuple[Capability, ...] = Field(default="8.7", min_length=1)
    workspace_mb: int = Field(default=WORKSPACE_MB, ge=WORKSPACE.low, le=WORKSPACE.high)
    dla: Literal[0, 1] | None = None
    driver: str = ">=36.3"

    backend: ClassVar[str] = "tensorrt"
    runtime: ClassVar[tuple[str, str]] = ("tensorrt", ">=10.3,<12")
    finalize: ClassVar[bool] = True
    dynamic: ClassVar[frozenset[str]] = frozenset({"batch", "imgsz"})
    signed_pairs: ClassVar[bool] = True
    embedding_remark: ClassVar[str] = (
        "the suppression in the graph is proven by ONNX Runtime here, and by TensorRT on the device (finalize): "
        "TensorRT-RTX, which proves the rest of the ONNX, has no kernel for it"
    )

    def options(self) -> Options:
        return {"workspace_mb": self.workspace_mb, "dla": self.dla}

    @property
    def system_runtime(self) -> bool:  # type: ignore[override]  # JetPack brings it; what PyPI has is for x86-64
        return self.arch == "aarch64"

    @property
    def keeps_float(self) -> bool:  # type: ignore[override]  # a DLA, and what falls back from it, is not strongly typed
        return self.dla is None

    @property
    def embeds(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset() if self.dla is not None else frozenset({"yolo", "end2end"})

    @property
    def why_not_embedded(self) -> str:  # type: ignore[override]
        if self.dla is not None:
            return "a DLA, and what falls back from it, may compute it in FP16"
        return "TensorRT's suppression knows upright boxes only"

    def computes_fp16(self, precision: str) -> bool:
        return precision != "fp32" or self.dla is not None

    def constraints(self) -> dict[str, str | list[str]]:
        return {"sm": [self.sm] if isinstance(self.sm, str) else list(self.sm), "driver": self.driver}

    def proxy_backend(self) -> ProxyBackend | None:
        return PROXY_BACKEND

    def quantize(self, graph: Graph, model: Model, settings: Int8Static) -> Model:
        return quantize_signed(graph, model, settings)

    def simulated_placement(self, settings: Int8Static) -> Placement:
        return placement(settings)

    def compile(self, graph: Graph, model: Model) -> Model:
        about = "strongly typed ONNX that takes uint8 NHWC BGR pictures, and the line for trtexec"
        typed = compile_typed(graph, model, self.options(), about)
        if find_spec(PROVER[0]):
            graph.add(
                Step(
                    name="prove",
                    function="edgecompile.targets.tensorrt:prove",
                    stage=Stage.VALIDATION,
                    params={"sm": PROVEN_FOR},
                    inputs={"artifact": typed.artifact},
                    tools=PROVER[1:],
                    memory_mb=1500,
                    about="TensorRT-RTX parses the ONNX and builds an engine of it, without a GPU",
                )
            )
        else:
            graph.note(
                "the ONNX is not proven with TensorRT's parser here, before the device: "
                "pip install 'edgecompile[tensorrt-rtx]'"
            )
        return typed

    def warnings(self, precision: str) -> list[str]:
        remarks = []
        if precision == "fp32":
            remarks.append(f"float is the slowest on {self.device}: 'fp16' halves time and size")
        if self.dla is not None and precision != "fp16":
            remarks.append("a DLA takes FP16 from this graph; what is in INT8 or float falls back to the GPU")
        if self.dla is not None:
            remarks.append("TensorRT serves a DLA up to 10.7, and again from 11.4.1 on (AGX Orin, JetPack 7.2.2)")
        return remarks


class ProofFacts(TypedDict):
    """What the step returns: bytes of the engine that was built, and for which compute capability."""

    engine_bytes: int
    sm: int


def prove(out: Path, *, artifact: Path, sm: int) -> ProofFacts:
    """Builds an engine and throws it away: it says whether TensorRT's parser and builder take the ONNX.

    Raises:
        StepError: they do not; with what they say.
    """
    engine = built_ahead(artifact, [sm])
    return {"engine_bytes": len(engine), "sm": sm}
