"""Plan of an INT8 graph as TensorRT wants it: signed, symmetric Q/DQ pairs before learned layers, the rest in FP16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecompile.plan.graph import Graph, Model
from edgecompile.plan.step import Output, Stage, Step
from edgecompile.quantization.qdq import Placement

if TYPE_CHECKING:
    from edgecompile.passes.int8_static import Int8Static

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
        "ends_in_float": True,
    }


def quantize_signed(graph: Graph, model: Model, settings: Int8Static) -> Model:
    """Adds calibration, quantization and the conversion of the rest to FP16."""
    graph.add(
        Step(
            name="calibration",
            function="edgecompile.quantization.qdq:calibrate",
            stage=Stage.CALIBRATION,
            params={"method": settings.method, "percentile": settings.percentile},
            inputs={"model": model.artifact, "spec": model.spec, "pictures": graph.materials.calibration},
            tools=("onnxruntime", "onnx", "numpy", "opencv-python-headless"),
            isa=True,
            memory_mb=900,
            about=f"ranges of activations, {settings.method}",
        )
    )
    graph.add(
        Step(
            name="quantization",
            function="edgecompile.quantization.qdq:quantize",
            stage=Stage.QUANTIZATION,
            params={"placement": placement(settings), "exclude": settings.excluded()},
            inputs={"model": model.artifact, "ranges": Output("calibration", "ranges.json")},
            tools=("onnxruntime", "onnx", "numpy"),
            memory_mb=600,
            about="Q/DQ, symmetric int8, before learned layers; the first and the last stay in float",
        )
    )
    graph.add(
        Step(
            name="fp16",
            function="edgecompile.quantization.typed:halve_rest",
            stage=Stage.QUANTIZATION,
            inputs={"model": Output("quantization", "model.onnx"), "reference": model.artifact},
            tools=("onnxruntime", "onnx", "numpy"),
            about="what is not in INT8 in FP16; inputs, outputs and the decoding of boxes in float",
        )
    )
    if settings.symmetric is False:
        graph.note("TensorRT takes symmetric ranges only: 'symmetric: false' has no effect")
    return model.with_(artifact=Output("fp16", "model.onnx"), precision="int8")
