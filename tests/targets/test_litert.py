"""LiteRT as a target: what the pairs are, how it is compiled, what it warns of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from exported import graph_for

from edgecompile.passes.fp16 import Fp16
from edgecompile.passes.int8_static import Int8Static
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.targets.litert import LiteRt
from edgecompile.targets.onnxruntime import OnnxRuntime

CONF = Path(__file__).parents[2] / "conf" / "target"
WRITTEN = sorted(path for path in CONF.glob("*.yaml") if "kind: litert" in path.read_text())
FLOAT = Model(Output("simplify", "model.onnx"), Output("onnx_export", "spec.json"))


def a_board(**fields):
    return LiteRt(**{"device": "a board", "memory_mb": 1024, "isa": ("avx2",), **fields})


def graph(target):
    found = graph_for(target)
    found.steps.update(simplify=None, onnx_export=None)
    return found


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_written_targets_say_where_they_come_from(path):
    target = LiteRt(**yaml.safe_load(path.read_text()))
    assert target.source
    assert target.board.source
    assert not target.warnings("int8")


def test_int8_shares_its_calibration_with_onnx_runtime():
    other = OnnxRuntime(device="a PC", memory_mb=1024)
    mine, theirs = graph(a_board()), graph(other)
    model = a_board().quantize(mine, FLOAT, Int8Static())
    other.quantize(theirs, FLOAT, Int8Static())
    assert mine.steps["calibration"] == theirs.steps["calibration"]
    compiled = a_board().compile(mine, model)
    assert (compiled.format, compiled.precision, compiled.artifact) == ("litert", "int8", Output("compile"))
    assert mine.steps["compile"].params == {"half": False}


def test_fp16_is_a_matter_of_the_file():
    lowered = graph(a_board())
    model = Fp16().lower(lowered, FLOAT)
    a_board().compile(lowered, model)
    assert lowered.steps["compile"].params == {"half": True}
    assert not a_board().computes_fp16("fp16")
    assert "not the time" in a_board().warnings("fp16")[0]


def test_what_will_not_help_is_said():
    assert "no dot product" in a_board(arch="aarch64", isa=("asimd",)).warnings("int8")[0]
    assert not a_board(arch="aarch64", isa=("asimddp",)).warnings("int8")
    assert not a_board().warnings("fp32")
