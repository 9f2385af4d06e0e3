"""OpenVINO IR whose bytes depend on nothing but the model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgecompile.runtime.openvino_ir import MADE_UP_NAME

XML, BIN = "model.xml", "model.bin"

RUNTIME_INFO = re.compile(r"\n\t<rt_info>.*?\n\t</rt_info>", re.DOTALL)
"""What tools note about themselves beneath <net>: the path of the input file, versions, settings, the ignored scope."""


WEIGHTED = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData", "MatMul")
"""Operations whose second input is weights."""


def save(model: Any, out: Path, *, half: bool = False, brain: bool = False) -> None:
    """Writes `model.xml` and `model.bin`.

    Args:
        half: whether weights are stored as FP16.
        brain: whether weights of layers are stored as bfloat16.
    """
    import openvino

    if brain:
        store_as_bfloat(model)

    rename_counted(model)
    openvino.save_model(model, out / XML, compress_to_fp16=half)
    text = (out / XML).read_text(encoding="utf-8")
    text = re.sub(r'<net name="[^"]*"', '<net name="model"', text, count=1)
    (out / XML).write_text(RUNTIME_INFO.sub("", text), encoding="utf-8")


def store_as_bfloat(model: Any) -> int:
    """Rounds the weights of layers to bfloat16, in place, as a device that computes in it does; returns how many."""
    from openvino import Type, opset13

    count = 0
    for operation in model.get_ordered_ops():
        if operation.get_type_name() not in WEIGHTED:
            continue
        weights = operation.input_value(1).get_node()
        if weights.get_type_name() != "Constant" or weights.get_element_type() != Type.f32:
            continue
        stored = opset13.constant(weights.data, dtype=Type.bf16)
        stored.set_friendly_name(weights.get_friendly_name())
        widened = opset13.convert(stored, "f32")
        widened.set_friendly_name(f"{weights.get_friendly_name()}/widened")
        operation.input(1).replace_source_output(widened.output(0))
        count += 1
    return count


def rename_counted(model: Any) -> None:
    """Names operations that have a made-up name by their type and their place in topological order, in place."""
    operations = model.get_ordered_ops()
    taken = {
        operation.get_friendly_name()
        for operation in operations
        if not MADE_UP_NAME.match(operation.get_friendly_name())
    }
    for position, operation in enumerate(operations):
        if MADE_UP_NAME.match(operation.get_friendly_name()):
            name = f"{operation.get_type_name()}_{position}"
            operation.set_friendly_name(name if name not in taken else f"{name}_")
