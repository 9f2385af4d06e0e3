"""Reading, rewriting and saving OpenVINO models. Imported by step functions only: needs openvino."""

from __future__ import annotations

import sys
from types import ModuleType


def import_openvino() -> ModuleType:
    """Imports openvino so that neither it nor nncf reports what is done with them.

    Their converter and quantizer send usage statistics over the network, unless a person has declined before. Both cope
    with the package `openvino_telemetry` being absent: so it is made absent, for this process.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
