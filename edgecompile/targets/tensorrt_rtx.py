"""TensorRT-RTX on PCs with an NVIDIA RTX GPU. Engines are built ahead of time, on a machine that needs no GPU."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict

from pydantic import Field

from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step
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

TURING = 75
NO_FLOAT_PRODUCTS = "FP32 GEMM is not supported"
"""What TensorRT-RTX says of Turing and matrix products that a graph leaves in float, as an imported Q/DQ graph may."""


class TensorRtRtx(Target):
    """A PC that runs TensorRT-RTX.

    Fields:
        sm: compute capabilities to build for, times ten: 75 (RTX 20, Turing), 86 (RTX 30, Ampere), 89 (RTX 40, Ada),
            120 (RTX 50, Blackwell). One engine serves all but Turing, which has its own: a common engine would be slow.
        driver: range of the versions of the driver that the bundle is for. CUDA 13 wants 580.
    """

    kind: Literal["tensorrt_rtx"] = "tensorrt_rtx"
    precisions: tuple[Literal["fp32", "fp16", "int8"], ...] = ("fp16", "int8")
    sm: tuple[Literal[75, 80, 86, 89, 120, 121], ...] = Field(default=(75, 86, 89, 120), min_length=1)
    driver: str = ">=580"

    backend: ClassVar[str] = "tensorrt_rtx"
    runtime: ClassVar[tuple[str, str]] = ("tensorrt-rtx", ">=1.7,<1.8")
    finalize: ClassVar[bool] = True
    dynamic: ClassVar[frozenset[str]] = frozenset({"batch", "imgsz"})
    signed_pairs: ClassVar[bool] = True
    embeds: ClassVar[frozenset[str]] = frozenset({"end2end"})
    why_not_embedded: ClassVar[str] = "TensorRT-RTX 1.7 parses non-maximum suppression and has no kernel for it"

    def computes_fp16(self, precision: str) -> bool:
        return precision != "fp32"

    def constraints(self) -> dict[str, str | list[str]]:
        return {"sm": [f"{sm // 10}.{sm % 10}" for sm in self.sm], "driver": self.driver}

    def proxy_backend(self) -> ProxyBackend | None:
        return PROXY_BACKEND

    def quantize(self, graph: Graph, model: Model, settings: Int8Static) -> Model:
        return quantize_signed(graph, model, settings)

    def simulated_placement(self, settings: Int8Static) -> Placement:
        return placement(settings)

    def compile(self, graph: Graph, model: Model) -> Model:
        return compile_typed(graph, model, None, "strongly typed ONNX that takes uint8 NHWC BGR pictures")

    def finish(self, graph: Graph, model: Model) -> Model:
        names = ", ".join(str(sm) for sm in self.sm)
        graph.add(
            Step(
                name="engines",
                function="edgecompile.targets.tensorrt_rtx:engines",
                stage=Stage.COMPILATION,
                params={"groups": groups(self.sm)},
                inputs={"artifact": model.artifact},
                tools=PROVER[1:],
                memory_mb=1500,
                about=f"TensorRT-RTX engines for SM {names}",
            )
        )
        return model.with_(artifact=Output("engines"))

    def warnings(self, precision: str) -> list[str]:
        if precision == "int8" and TURING in self.sm:
            return ["TensorRT-RTX documents no INT8 speed-up on SM 75 (RTX 20): FP16 is the choice there"]
        return []


def groups(sms: tuple[int, ...]) -> list[list[int]]:
    """Returns the compute capabilities that share an engine: Turing has its own."""
    return [group for group in ([sm for sm in sms if sm == TURING], sorted({*sms} - {TURING})) if group]


class EngineFacts(TypedDict):
    """What the step returns: each engine to its bytes."""

    engines: dict[str, int]


def engines(out: Path, *, artifact: Path, groups: list[list[int]]) -> EngineFacts:
    """Writes `model.onnx` and one `sm<...>.engine` for each group of compute capabilities.

    Raises:
        StepError: TensorRT-RTX does not take the ONNX; with what it says.
    """
    from edgecompile.errors import StepError
    from edgecompile.runtime.backends.tensorrt_rtx import engine_name

    sizes = {}
    for group in groups:
        try:
            engine = built_ahead(artifact, group)
        except StepError as error:
            if NO_FLOAT_PRODUCTS in str(error):
                others = ",".join(str(sm) for other in groups if other != group for sm in other)
                raise StepError(error.problems[0].message, fix=f"leave it out: target.sm=[{others}]") from error
            raise
        (out / engine_name(group)).write_bytes(engine)
        sizes[engine_name(group)] = len(engine)
    shutil.copyfile(artifact / "model.onnx", out / "model.onnx")
    return {"engines": sizes}
