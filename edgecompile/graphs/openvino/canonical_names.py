"""OpenVINO IR whose bytes depend on nothing but the model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgecompile.runtime.openvino_ir import MADE_UP_NAME

XML, BIN = "model.xml", "model.bin"

RUNTIME_INFO = re.compile(r"\n\t<rt_info>.*?\n\t</rt_info>", re.DOTALL)
"""What tools note about themselves beneath <net>: the path of the input file, versions, settings, the ignored scope."""


def save(model: Any, out: Path, *, half: bool = False) -> None:
    """Writes `model.xml` and `model.bin`.

    Args:
        half: whether weights are stored as FP16.
    """
    import openvino

    rename_counted(model)
    openvino.save_model(model, out / XML, compress_to_fp16=half)
    text = (out / XML).read_text(encoding="utf-8")
    text = re.sub(r'<net name="[^"]*"', '<net name="model"', text, count=1)
    (out / XML).write_text(RUNTIME_INFO.sub("", text), encoding="utf-8")


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
