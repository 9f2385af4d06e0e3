"""What is left in float beside INT8 is computed in FP16 or BF16 where the target does so."""

from __future__ import annotations

from typing import Any

import pytest

from edgecompile.targets.cann import Cann
from edgecompile.targets.ncnn import Ncnn
from edgecompile.targets.onnxruntime import OnnxRuntime
from edgecompile.targets.openvino import OpenVino
from edgecompile.targets.tensorrt import TensorRt
from edgecompile.targets.tensorrt_rtx import TensorRtRtx


@pytest.mark.parametrize(
    ("kind", "settings", "precision"),
    [
        (OnnxRuntime, {}, "fp32"),
        (OpenVino, {}, "fp32"),
        (OpenVino, {"inference_precision": "bf16"}, "bf16"),
        (OpenVino, {"inference_precision": "f16"}, "fp16"),
        (OpenVino, {"device_name": "NPU"}, "fp16"),
        (Ncnn, {"inference_precision": "f32"}, "fp32"),
        (Ncnn, {"inference_precision": "f16"}, "fp16"),
        (TensorRt, {}, "fp16"),
        (TensorRt, {"dla": 0}, "fp16"),
        (TensorRtRtx, {}, "fp16"),
        (Cann, {"soc": ("Ascend310B4",)}, "fp16"),
    ],
)
def test_what_stays_in_float_is_computed_in(kind: Any, settings: dict[str, Any], precision: str):
    assert kind(device="a device", memory_mb=4096, **settings).float_beside_int8 == precision
