"""Raises a model to an operator set that every pass works on."""

from __future__ import annotations

import onnx
from onnx import version_converter

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.serialization import IR_VERSION
from edgecompile.library_errors import EXPORT_AGAIN
from edgecompile.weights.onnx_header import OLDEST

OLDEST_COMPILED = 13
"""Oldest operator set that passes work on: the first in which a scale may be one for each channel."""
WANTED = (18, 17, 15, 13)
"""Operator sets that an older model is raised to: the first that the converter can make."""


def operator_set(model: onnx.ModelProto) -> int:
    """Returns the version of ONNX's own operators that a model uses, 0 where it names none."""
    return max((opset.version for opset in model.opset_import if opset.domain == ""), default=0)


def raise_operator_set(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Returns a model of the same nodes, or of such that do the same, in an operator set that passes work on.

    Args:
        model: valid, with all functions inlined.
        name: of the file, for messages.

    Raises:
        StepError: the operator set is too new or too old, or ONNX's converter cannot raise it.
    """
    version = operator_set(model)
    if not OLDEST <= version <= onnx.defs.onnx_opset_version():
        limits = f"{OLDEST} to {onnx.defs.onnx_opset_version()}"
        raise StepError(f"'{name}' uses operator set {version}; {limits} can be read", fix=EXPORT_AGAIN)
    if version >= OLDEST_COMPILED:
        return model
    reason = ""
    for target in WANTED:
        try:
            raised = version_converter.convert_version(model, target)
            raised.ir_version = IR_VERSION
            onnx.checker.check_model(raised, full_check=True)
        except Exception as error:  # of any kind: the converter is compiled code
            reason = reason or " ".join(str(error).rpartition("failed:")[2].split())[:120]
            continue
        return raised
    raise StepError(f"'{name}' uses operator set {version}, and it cannot be raised: {reason}", fix=EXPORT_AGAIN)
