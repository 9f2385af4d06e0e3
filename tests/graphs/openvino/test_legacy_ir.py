"""The IR for OpenVINO 2022.3: old operations only, the same boxes, the same files; what has no old form is named."""

from __future__ import annotations

import re

import numpy as np
import pytest
from exported import simplified

pytest.importorskip("openvino")

from edgecompile.errors import StepError
from edgecompile.graphs.openvino import import_openvino
from edgecompile.graphs.openvino.ir_artifact import compile_ir
from edgecompile.graphs.openvino.legacy_ir import compile_legacy, lower, require_reach


@pytest.fixture(scope="module")
def today(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ir")
    compile_ir(folder, model=simplified().model, spec=simplified().spec, half=True, separate_silu=False)
    return folder


@pytest.mark.slow
def test_operations_are_of_its_time_and_files_equal(today, tmp_path):
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        facts = compile_legacy(tmp_path / name, model=today, spec=today / "spec.json")
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert made[0] == made[1]
    assert facts["max_abs_diff"]["scores"] < 1e-3
    assert len(facts["changes"]) == 4
    opsets = {int(opset) for opset in re.findall(rb'version="opset(\d+)"', made[0]["model.xml"])}
    assert max(opsets) <= 4
    assert max(int(n) for n in re.findall(r'version="opset(\d+)"', (today / "model.xml").read_text())) > 9


def test_what_the_stick_does_not_run_is_named():
    import_openvino()
    from openvino import Model, opset13

    source = opset13.parameter([1, 8], np.float32)
    strange = opset13.mod(opset13.gelu(source, "erf"), np.float32(2))
    with pytest.raises(StepError, match=r"does not run Mod \(opset1\); passes\.onnx_export\.end2end=false"):
        require_reach(Model([strange], [source]), {"output": {"decode": "end2end"}})
    old = Model([opset13.relu(source)], [source])
    assert lower(old) == {}
    require_reach(old, {"output": {"decode": "yolo"}})
