"""The steps of static INT8 that runtimes share."""

from __future__ import annotations

import pytest
from exported import graph_for

from edgecompile.passes.int8_static import Int8Static
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.targets.cann import Cann
from edgecompile.targets.onnxruntime import OnnxRuntime
from edgecompile.targets.tensorrt import TensorRt

FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))


def quantized(target, settings):
    graph = graph_for(target)
    graph.steps.update(simplify=None, onnx_export=None)
    return graph.steps, target.quantize(graph, FLOAT, settings)


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_one_calibration_serves_each_placement(method):
    targets = [
        OnnxRuntime(device="a CPU", memory_mb=1024),
        TensorRt(device="a Jetson", memory_mb=8192),
        Cann(device="an Atlas", memory_mb=8192, soc=("Ascend310B4",)),
    ]
    found = [quantized(target, Int8Static(method=method)) for target in targets]
    calibrations = [steps["calibration"] for steps, _ in found]
    assert calibrations[0] == calibrations[1] == calibrations[2]
    assert len({str(steps["quantization"].params["placement"]) for steps, _ in found}) == 3
    assert {model.precision for _, model in found} == {"int8"}
