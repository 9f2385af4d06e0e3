"""Static INT8 for OpenVINO: NNCF on OpenVINO's own graph."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgecompile.plan.facts import GraphFacts
from edgecompile.quantization.qdq import INPUT_RANGE

PRESETS = {"auto": "MIXED", False: "MIXED", True: "PERFORMANCE"}
"""`symmetric` of the pass -> preset of NNCF. MIXED keeps activations asymmetric, which SiLU needs: its values reach
from -0.28 to far above."""


def quantize(
    out: Path,
    *,
    model: Path,
    spec: Path,
    pictures: list[Path],
    method: str,
    percentile: float,
    per_channel: bool,
    symmetric: bool | str,
    exclude: str | list[str],
    keep_float: Sequence[str] = (),
) -> GraphFacts:
    """Writes the quantized IR, `model.xml` and `model.bin`; biases are corrected for the mean error of the weights.

    Raises:
        StepError: when an entry of `exclude` matches no operation, or one of `keep_float` no node of the ONNX graph.
    """
    from edgecompile.graphs.openvino import import_openvino

    import_openvino()
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # nncf would import it, and 200 MB, for no use here
    import nncf

    from edgecompile.graphs.openvino.canonical_names import XML, save
    from edgecompile.graphs.openvino.conversion import from_onnx
    from edgecompile.graphs.openvino.ir_layers import layers
    from edgecompile.graphs.openvino.ir_structure import decode
    from edgecompile.quantization.calibration_batches import input_reader
    from edgecompile.quantization.exclusion import excluded

    nncf.set_log_level(30)
    graph = from_onnx(model)
    operations = graph.get_ordered_ops()
    left_out = excluded(exclude, (operation.get_friendly_name() for operation in operations), lambda: decode(graph))
    left_out = sorted({*left_out, *_of_onnx(operations, model, keep_float)})
    read = input_reader(spec)
    quantized = nncf.quantize(
        graph,
        nncf.Dataset(pictures, lambda path: read(path).copy()),
        preset=nncf.QuantizationPreset[PRESETS[symmetric]],
        subset_size=len(pictures),
        ignored_scope=nncf.IgnoredScope(names=left_out, validate=True) if left_out else None,
        advanced_parameters=_parameters(method, percentile, per_channel),
    )
    _widen_input(quantized)
    if not exclude:
        _quantize_outputs(quantized, from_onnx(model), map(read, pictures))
    save(quantized, out)
    precisions = [layer.precision for layer in layers((out / XML).read_bytes())]
    fakes = sum(operation.get_type_name() == "FakeQuantize" for operation in quantized.get_ordered_ops())
    return {
        "changes": [
            f"{precisions.count('int8')} of {len(precisions)} learned layers in INT8",
            f"{fakes} FakeQuantize operations inserted",
            f"{len(left_out)} of {len(operations)} operations left in float",
        ],
        "in_float": left_out,
        "pictures": len(pictures),
    }


def _of_onnx(operations: Iterable[Any], model: Path, keep_float: Sequence[str]) -> list[str]:
    """Returns the names of the operations that OpenVINO made of what `keep_float` names in an ONNX file.

    An operation bears the name of its node, with a suffix where several came of one; one of a node without a name is
    known by the tensors that it puts out.
    """
    from edgecompile.graphs.onnx.serialization import load
    from edgecompile.graphs.onnx.structure import name_nodes
    from edgecompile.quantization.exclusion import kept_in_float

    if not keep_float:
        return []
    nodes = load(model).graph.node
    name_nodes(nodes)
    kept = set(kept_in_float(keep_float, (node.name for node in nodes)))
    tensors = {name for node in nodes if node.name in kept for name in node.output if name}
    return [
        name
        for operation in operations
        if (name := operation.get_friendly_name()) in kept
        or name.rpartition("/")[0] in kept
        or any(not tensors.isdisjoint(output.get_names()) for output in operation.outputs())
    ]


def _widen_input(quantized: Any) -> None:
    """Sets the range of the picture to 0..1, in place: known, not measured.

    One step of its scale is then one step of a byte, so that bytes feed the first convolution as they are.
    """
    import numpy as np
    from openvino import opset13

    limits = [opset13.constant(np.float32(limit)) for limit in INPUT_RANGE]
    for parameter in quantized.get_parameters():
        for target in parameter.output(0).get_target_inputs():
            if (reader := target.get_node()).get_type_name() == "FakeQuantize":
                for position in range(4):
                    reader.input(1 + position).replace_source_output(limits[position % 2].output(0))


def _quantize_outputs(quantized: Any, reference: Any, tensors: Iterable[Any]) -> None:
    """Puts a FakeQuantize over the range of all pictures before each output, in place.

    NNCF itself moves such an operation up beyond the last concatenation, and so keeps boxes and scores on scales of
    their own: its graph would not be quantized as a whole.
    """
    import numpy as np
    import openvino
    from openvino import opset13

    compiled = openvino.Core().compile_model(reference, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    extremes = np.array([[(value.min(), value.max()) for value in compiled(tensor).values()] for tensor in tensors])
    for position, result in enumerate(quantized.get_results()):
        limits = holding_zero(float(extremes[:, position, 0].min()), float(extremes[:, position, 1].max()))
        low, high = (opset13.constant(np.float32(limit)) for limit in limits)
        value = result.input_value(0)
        names = value.get_names()
        fake = opset13.fake_quantize(value, low, high, low, high, 256)
        result.input(0).replace_source_output(fake.output(0))
        value.get_tensor().set_names(set())
        fake.output(0).get_tensor().set_names(names)


def holding_zero(low: float, high: float) -> tuple[float, float]:
    """Returns the range of 256 numbers at equal steps that reaches over `low` and `high`, zero being one of them."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255 or 1.0
    below = round(-low / step)
    return -below * step, (255 - below) * step


def _parameters(method: str, percentile: float, per_channel: bool) -> Any:
    """Returns NNCF's settings.

    The method "entropy" becomes its histogram estimator, which chooses the range of smallest quantization error.

    Weights of the first convolution take 7 bits: there the activations are pixels, which use all of their 8 bits, and
    the sum of two products would overflow 16 bits on an x86 CPU without VNNI. mAP50-95 of YOLO11n on BCCD, 320 pixels,
    on a Zen 3 (AVX2): 0.4453 with 8 bits everywhere, 0.4887 so, 0.4876 with 7 bits everywhere (float 0.4862).
    """
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        OverflowFix,
        QuantizationParameters,
    )
    from nncf.quantization.range_estimator import (
        AggregatorType,
        RangeEstimatorParameters,
        RangeEstimatorParametersSet,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    share = StatisticsCollectorParameters(
        statistics_type=StatisticsType.QUANTILE,
        aggregator_type=AggregatorType.MEAN,
        quantile_outlier_prob=(1 - percentile / 100) / 2,
    )
    estimators = {
        "minmax": RangeEstimatorParametersSet.MINMAX,
        "percentile": RangeEstimatorParameters(min=share, max=share),
        "entropy": RangeEstimatorParametersSet.HISTOGRAM,
    }
    return AdvancedQuantizationParameters(
        overflow_fix=OverflowFix.FIRST_LAYER,
        activations_range_estimator_params=estimators[method],
        weights_quantization_params=QuantizationParameters(per_channel=per_channel),
    )
