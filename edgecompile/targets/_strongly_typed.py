"""What TensorRT and TensorRT-RTX want alike: signed Q/DQ pairs, the rest in FP16, proof by a builder without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgecompile.plan.fp16_range_steps import add_fp16_range
from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.quantization.steps import add_static
from edgecompile.runtime.backends import onnxruntime
from edgecompile.runtime.options import Options
from edgecompile.targets import ProxyBackend

if TYPE_CHECKING:
    from edgecompile.passes.int8_static import Int8Static
    from edgecompile.quantization.qdq import Placement

PROXY_BACKEND = ProxyBackend("onnxruntime", "onnxruntime", onnxruntime.Backend.stand_in_options)
"""ONNX Runtime computes the graph that ships as it is written: its fusions of Q/DQ pairs know no scales in FP16."""
PROVER = ("tensorrt_rtx_bindings", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs")
"""Module, and distributions, of the TensorRT that builds on a machine without a GPU: TensorRT-RTX."""
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What is computed in INT8. Pairs stand before these alone: TensorRT itself moves them through what only moves numbers
(MaxPool, Concat, Resize), and fuses what follows a convolution, a SiLU or an addition, with it in FP16."""


def placement(settings: Int8Static) -> Placement:
    """Returns the Q/DQ profile of TensorRT. Its parser refuses zero points that are not 0 and biases in INT32."""
    return {
        "activations": "int8",
        "symmetric": True,
        "per_channel": settings.per_channel,
        "reduce_range": False,
        "quantize_bias": False,
        "pair_on_weights": False,
        "dedicated_pairs": False,
        "operators": list(OPERATORS),
        "inputs_only": True,
        "learned_only": True,
        "ends_in_float": True,
    }


def quantize_signed(graph: Graph, model: Model, settings: Int8Static) -> Model:
    """Adds calibration, quantization and the conversion of the rest to FP16."""
    about = "Q/DQ, symmetric int8, before learned layers but the first and the last"
    quantized = add_static(graph, model, settings, placement(settings), about)
    beyond = add_fp16_range(graph, model, "int8")
    graph.add(
        Step(
            name="fp16",
            function="edgecompile.quantization.strongly_typed_qdq:halve_rest",
            version=2,
            stage=Stage.QUANTIZATION,
            inputs={"model": quantized.artifact, "reference": model.artifact, "beyond": beyond},
            tools=("onnxruntime", "onnx", "numpy"),
            about="what is not in INT8 in FP16; inputs, outputs and the decoding of boxes in float",
        )
    )
    if settings.symmetric is False:
        graph.note("TensorRT takes symmetric ranges only: 'symmetric: false' has no effect")
    return quantized.with_(artifact=Output("fp16", "model.onnx"))


def compile_typed(graph: Graph, model: Model, build: Options | None, about: str) -> Model:
    """Adds the step that writes the strongly typed ONNX.

    Args:
        build: options of the engine that the device builds of it; None where it builds none.
    """
    step = Step(
        name="compile",
        function="edgecompile.graphs.onnx.strongly_typed:compile_typed",
        version=2,
        stage=Stage.COMPILATION,
        params={"build": build},
        inputs={"model": model.artifact, "spec": model.spec},
        tools=("onnxruntime", "onnx", "numpy"),
        isa=True,
        about=about,
    )
    graph.add(step)
    return model.with_(artifact=Output(step.name), spec=Output(step.name, "spec.json"))


def built_ahead(artifact: Path, sms: list[int]) -> bytes:
    """Returns the engine of the ONNX in a folder, for some compute capabilities.

    Raises:
        StepError: TensorRT-RTX does not take it; with what it says.
    """
    import json

    from edgecompile.errors import BundleError, StepError
    from edgecompile.runtime.backends.tensorrt_rtx import build_ahead

    spec = json.loads((artifact / "spec.json").read_text(encoding="utf-8"))
    try:
        return build_ahead((artifact / "model.onnx").read_bytes(), spec, sms)
    except BundleError as error:
        raise StepError(error.problems) from error
